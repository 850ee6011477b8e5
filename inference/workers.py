"""Threads for large requests, so that small ones never wait behind them."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from inference.errors import Busy

T = TypeVar("T")

# More threads would hold more bodies in memory without a gain in speed.
THREADS = 2
MAX_WAITING = 64


class Workers:
    """Two threads and a bounded queue. Raises `Busy` when the queue is full."""

    def __init__(self):
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="inference")
        self._waiting = 0

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        if self._waiting >= MAX_WAITING:
            raise Busy("too many large requests at once; try again in a second")
        self._waiting += 1
        try:
            context = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, context.run, work, *arguments
            )
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        self._threads.shutdown()
