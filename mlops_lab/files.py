"""Small files that are whole or absent: a kill or a full disk leaves the file as it was before."""

import os
from pathlib import Path


def write_whole(path: Path, content: str, mode: int = 0o644) -> None:
    """Writes the text beside the path and renames it; the folder is made. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:  # noqa: PTH123 (a descriptor)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
