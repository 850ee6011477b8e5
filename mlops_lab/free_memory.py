"""Gives free memory back to the system: a step's arrays would else stay with the process until it ends."""

import ctypes
from contextlib import suppress


def release() -> None:
    """Returns what Arrow and the C library keep of freed memory. It takes milliseconds, and does nothing elsewhere."""
    # Imported here, because commands that only read don't load it.
    import pyarrow

    pyarrow.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # Another C library than glibc.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
