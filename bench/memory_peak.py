"""The memory of this process, and its peak since a moment. Linux alone counts both."""

from pathlib import Path


def reset_peak() -> float:
    """The memory that the process has now, in MiB; Linux forgets the peak until now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str, pid: int | str = "self") -> float:
    """MiB of a process, by default of this one; name: VmRSS, the memory now, or VmHWM, its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
