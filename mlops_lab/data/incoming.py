"""Replies of the Data API on their way to the bucket. A reply that has arrived survives a kill and a full bucket.

Each use case has a folder with at most one reply, `reply.json`, and the key of the request that asks for it.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_lab.data.artifacts import Artifacts
from mlops_lab.data.source import DataApi
from mlops_lab.files import locked, write_whole

# Seconds to wait for another process that lands a batch of the same use case.
PATIENCE = 600.0


class Slot:
    """The folder of one use case, held by one process."""

    def __init__(self, folder: Path):
        self.reply = folder / "reply.json"
        self._key = folder / "key"
        self._files = Artifacts(str(folder))

    def check_room(self, size: int) -> None:
        """Raises `ArtifactError` when so many bytes don't fit."""
        self._files.check_room("", size)

    def receive(self, source: DataApi, dataset: str) -> str:
        """Requests the next batch into `reply`; returns its address. Raises the errors of `DataApi.fetch`.

        The key is stored before the request. When the reply is lost, the next request has the same key, and the lab's
        own Data API repeats the batch.
        """
        key = self._key.read_text() if self._key.exists() else ""
        if not key:
            key = uuid.uuid4().hex
            write_whole(self._key, key)
        return source.fetch(dataset, self.reply, key)

    def clear(self) -> None:
        """Removes the reply, which is in the ledger now."""
        # The key first: after a kill between the two, an old key would ask for the same batch again.
        self._key.unlink(missing_ok=True)
        self.reply.unlink(missing_ok=True)


class Incoming:
    """folder: holds a folder for each use case; it must lie on a disk, not in memory, to survive the machine."""

    def __init__(self, folder: Path):
        self._folder = folder

    @contextmanager
    def slot(self, use_case: str) -> Iterator[Slot]:
        """The use case's folder, for this process alone. Raises `ServiceError` when another one holds it too long."""
        folder = self._folder / use_case
        with locked(folder / "landing.lock", PATIENCE, f"landing a batch of {use_case}"):
            yield Slot(folder)
