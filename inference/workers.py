"""Requests that take longer than a moment run in few threads, so that short ones never wait behind them."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from inference.errors import Busy

T = TypeVar("T")

THREADS = 2  # more would only share the same processor among more bodies in memory
MOST_WAITING = 64


class Workers:
    """Two threads and a bounded queue. Raises `Busy` when the queue is full."""

    def __init__(self):
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="inference")
        self._at_work = 0

    async def run(self, work: Callable[..., T], *arguments) -> T:
        if self._at_work >= MOST_WAITING:
            raise Busy("too many large requests at once; try again in a second")
        self._at_work += 1
        try:
            context = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, context.run, work, *arguments
            )
        finally:
            self._at_work -= 1

    def stop(self) -> None:
        self._threads.shutdown()
