"""How a signal ends a command: Ctrl-C, SIGTERM and SIGHUP run its clean-up, and none of them is lost."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A second signal within so many seconds belongs to the first: a key that was pressed twice.
DOUBLE = 1.0

# When the first signal came, by the monotonic clock; None before.
_first: float | None = None
_installed = False


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block like Ctrl-C does, by `KeyboardInterrupt`, so that its clean-up runs.

    Python drops that exception in a callback of the garbage collector; then `raise_if_stopped` raises it at the next
    line of progress, or the block's end does. A later second signal ends the process at once, without clean-up.
    """
    global _first, _installed
    if _installed or threading.current_thread() is not threading.main_thread():
        yield
        return
    _first, _installed = None, True
    # Under `nohup` a closed terminal ends nothing.
    stops = [
        number for number in STOPS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, _interrupt) for number in stops}
    try:
        yield
        raise_if_stopped()
    finally:
        # After a signal the process ends. A further one would end it with another status while Python shuts down.
        for number, handler in before.items():
            signal.signal(number, handler if _first is None else signal.SIG_IGN)
        _installed = _first is not None


def raise_if_stopped() -> None:
    """Raises `KeyboardInterrupt` when a signal came, also when its exception was lost."""
    if _first is not None:
        raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A signal is delivered after the block."""
    received: list[int] = []

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    with handling(receive):
        yield
    if received:
        os.kill(os.getpid(), received[0])


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """The block with this handler of every stop signal; Python delivers signals to the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in STOPS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    global _first
    if _first is None:
        _first = time.monotonic()
        raise KeyboardInterrupt
    if time.monotonic() - _first >= DOUBLE:
        os.write(2, b"stopped at once\n")
        os._exit(130)
