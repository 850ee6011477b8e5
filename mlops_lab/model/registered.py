"""What MLflow's registry has of a use case's model, read from its server or from its SQLite file.

The file is read without MLflow, whose import takes over a second: a person waits for `lab status` and `lab predict`.
"""

import os
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_lab.model.mlflow_store import PATIENCE, check_whole, unreadable
from mlops_lab.model.tags import ModelTags, VersionTags

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from mlflow import MlflowClient

# Of all versions of a model, or of one. MLflow keeps the row of a deleted version, under a stage of its own.
VERSIONS = """
SELECT version, run_id, creation_time, description FROM model_versions
WHERE name = ? AND version = coalesce(?, version) AND current_stage != 'Deleted_Internal' ORDER BY version DESC
"""
TAGS = "SELECT version, key, value FROM model_version_tags WHERE name = ? AND version = coalesce(?, version)"


@dataclass(frozen=True)
class Version:
    """One registered version of a use case's model."""

    use_case: str
    version: int
    run_id: str
    digest: str
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    description: str = field(default="", repr=False)

    @property
    def facts(self) -> VersionTags:
        """The lab's own tags, typed."""
        return VersionTags.from_mlflow(self.tags)


@dataclass(frozen=True)
class Registered:
    """A use case's registered model: the version that each alias points to, and its tags."""

    aliases: dict[str, int] = field(default_factory=dict)
    facts: ModelTags = field(default_factory=ModelTags)

    def of(self, version: int) -> tuple[str, ...]:
        """The aliases of a version."""
        return tuple(sorted(alias for alias, number in self.aliases.items() if number == version))


class Reader(Protocol):
    """Reads registered models. A model that isn't there (yet) is an empty one."""

    def use_cases(self) -> list[str]: ...

    def registered(self, use_case: str) -> Registered: ...

    def version(self, use_case: str, version: int) -> Version | None: ...

    def versions(self, use_case: str) -> list[Version]:
        """Newest first."""
        ...


class FileReader:
    """Of an MLflow without a server. Raises `ServiceError` when its file is half made or can't be read.

    The connection is kept: a service asks every few seconds, and a new one first reads MLflow's sixty tables.
    """

    def __init__(self, file: Path):
        self._file = file
        self._turn = threading.Lock()
        self._db: sqlite3.Connection | None = None
        # Process, device and inode that the connection belongs to: a restored lab has another file.
        self._of: tuple[int, int, int] | None = None

    def use_cases(self) -> list[str]:
        tags: dict[str, dict[str, str]] = {}
        for name, key, value in self._rows("SELECT name, key, value FROM registered_model_tags"):
            tags.setdefault(name, {})[key] = value
        return sorted(name for name, found in tags.items() if ModelTags.from_mlflow(found).use_case)

    def registered(self, use_case: str) -> Registered:
        aliases = self._rows("SELECT alias, version FROM registered_model_aliases WHERE name = ?", use_case)
        tags = self._rows("SELECT key, value FROM registered_model_tags WHERE name = ?", use_case)
        return Registered(dict(aliases), ModelTags.from_mlflow(dict(tags)))

    def version(self, use_case: str, version: int) -> Version | None:
        found = self._versions(use_case, version)
        return found[0] if found else None

    def versions(self, use_case: str) -> list[Version]:
        return self._versions(use_case)

    def _versions(self, use_case: str, only: int | None = None) -> list[Version]:
        tags: dict[int, dict[str, str]] = {}
        for number, key, value in self._rows(TAGS, use_case, only):
            tags.setdefault(number, {})[key] = value
        registered = self.registered(use_case)
        return [
            _version(use_case, number, run, registered.of(number), tags.get(number, {}), created, text)
            for number, run, created, text in self._rows(VERSIONS, use_case, only)
        ]

    def _rows(self, query: str, *values: str | int | None) -> list[Any]:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable(self._file, error) from error
        with self._turn:
            try:
                db = self._connected((os.getpid(), found.st_dev, found.st_ino))
                return db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                self._close()
                raise unreadable(self._file, error) from error

    def _connected(self, of: tuple[int, int, int]) -> sqlite3.Connection:
        if self._db is None or self._of != of:
            self._close()
            check_whole(self._file)
            address = f"{self._file.resolve().as_uri()}?mode=rw"
            # One thread at a time has it.
            self._db = sqlite3.connect(address, uri=True, timeout=PATIENCE, check_same_thread=False)
            self._of = of
        return self._db

    def _close(self) -> None:
        # A forked process leaves its parent's connection alone.
        if self._db is not None and self._of is not None and self._of[0] == os.getpid():
            self._db.close()
        self._db = self._of = None


class ServerReader:
    """Of an MLflow server, by MLflow's client, whose errors it raises."""

    def __init__(self, client: "MlflowClient"):
        self._client = client

    def use_cases(self) -> list[str]:
        return sorted(
            model.name
            for model in self._client.search_registered_models(max_results=1000)
            if ModelTags.from_mlflow(model.tags).use_case
        )

    def registered(self, use_case: str) -> Registered:
        try:
            # Not the alias's own call: behind a login MLflow refuses it (403) for a model that isn't there yet.
            found = self._client.get_registered_model(use_case)
        except Exception as error:
            if is_missing(error):
                return Registered()
            raise
        aliases = {alias: int(number) for alias, number in found.aliases.items()}
        return Registered(aliases, ModelTags.from_mlflow(found.tags))

    def version(self, use_case: str, version: int) -> Version | None:
        try:
            found = self._client.get_model_version(use_case, str(version))
        except Exception as error:
            if is_missing(error):
                return None
            raise
        return version_of(found, tuple(found.aliases))

    def versions(self, use_case: str) -> list[Version]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_model_versions(
                f"name='{use_case}'", max_results=200, order_by=["version_number DESC"], page_token=token
            )
            found += page
            if not (token := page.token):
                break
        # A search leaves the aliases out; the model itself has them.
        registered = self.registered(use_case) if found else Registered()
        return [version_of(one, registered.of(int(one.version))) for one in found]


def version_of(found: "ModelVersion", aliases: tuple[str, ...] = ()) -> Version:
    """MLflow's record of a version as the lab's."""
    return _version(
        found.name,
        int(found.version),
        found.run_id,
        aliases,
        found.tags,
        found.creation_timestamp,
        found.description,
    )


def is_missing(error: Exception) -> bool:
    """Whether MLflow says that there is no such thing. Its class isn't named here, since that would import MLflow."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"


def _version(
    use_case: str,
    number: int,
    run: str | None,
    aliases: tuple[str, ...],
    tags: Mapping[str, str],
    created: int,
    description: str | None,
) -> Version:
    """created: in milliseconds since 1970."""
    return Version(
        use_case=use_case,
        version=number,
        run_id=run or "",
        digest=VersionTags.from_mlflow(tags).digest,
        aliases=aliases,
        tags=dict(tags),
        created_at=datetime.fromtimestamp(created / 1000, UTC),
        description=description or "",
    )
