"""How a signal ends a command: Ctrl-C, SIGTERM and SIGHUP run its clean-up, and none of them is lost."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A second signal within so many seconds belongs to the first: a key that was pressed twice.
DOUBLE = 1.0

# Seconds after which an exception that Python dropped is raised again.
AGAIN = 0.1

# When the first signal came, by the monotonic clock; None before.
_first: float | None = None
_installed = False
# Raises the dropped exception again.
_retry: threading.Timer | None = None
_retrying = False


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block like Ctrl-C does, by `KeyboardInterrupt`, so that its clean-up runs.

    Python drops that exception in a callback of the garbage collector; then it is raised again a moment later, also
    out of a wait for a service, or earlier by `raise_if_stopped` at the next line of progress or at the block's end.
    A later second signal ends the process at once, without clean-up.
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
    hook, sys.unraisablehook = sys.unraisablehook, _dropped
    try:
        yield
        raise_if_stopped()
    finally:
        sys.unraisablehook = hook
        _no_retry()
        # After a signal the process ends. A further one would end it with another status while Python shuts down.
        for number, handler in before.items():
            signal.signal(number, handler if _first is None else signal.SIG_IGN)
        _installed = _first is not None


def raise_if_stopped() -> None:
    """Raises `KeyboardInterrupt` when a signal came, also when its exception was lost."""
    if _first is not None:
        _no_retry()
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
    global _first, _retrying
    if _first is None or _retrying:
        _first, _retrying = _first or time.monotonic(), False
        raise KeyboardInterrupt
    if time.monotonic() - _first >= DOUBLE:
        os.write(2, b"stopped at once\n")
        os._exit(130)


def _dropped(error: "sys.UnraisableHookArgs") -> None:
    """Python calls it with an exception that it can't raise."""
    global _retry
    if error.exc_type is not KeyboardInterrupt or _first is None:
        sys.__unraisablehook__(error)
        return
    _retry = threading.Timer(AGAIN, _raise_again)
    _retry.daemon = True
    _retry.start()


def _raise_again() -> None:
    global _retrying
    _retrying = True
    # To the main thread, or its wait would go on.
    if (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, signal.SIGINT)


def _no_retry() -> None:
    global _retry, _retrying
    if _retry is not None:
        _retry.cancel()
    _retry, _retrying = None, False
