"""Random ids. They are not guessable, because whoever knows a prediction's id may send feedback for it."""

import os
import threading

# One call to the system costs as much as reading a row, so bytes are taken from it in blocks.
BLOCK = 4096

_lock = threading.Lock()
_block = b""


def random_hex(size: int) -> str:
    """So many random bytes of the operating system, two hexadecimal digits each."""
    global _block
    if size > BLOCK:
        return os.urandom(size).hex()
    with _lock:
        if len(_block) < size:
            _block = os.urandom(BLOCK)
        found, _block = _block[:size], _block[size:]
    return found.hex()


def _forget() -> None:
    global _block, _lock
    _block, _lock = b"", threading.Lock()


# A forked process must not give the same ids as its parent.
os.register_at_fork(after_in_child=_forget)
