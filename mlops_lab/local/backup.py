"""A copy of an embedded lab in one folder, made while the lab runs, and a lab made of such a folder.

    FOLDER/manifest.json     release, time, and the size and sha256 of each file
    FOLDER/home/…            the files of LAB_HOME, without logs, downloaded models and temporary files

The order keeps the copy complete: first what is on its way into a database (spool, received payloads, the position in
the Data API's data), then the databases, then the files that they name. A file that is copied twice on its way is
stored once, by its digest or its id.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path

from mlops_lab.data.database import now
from mlops_lab.data.migrate import NEWEST
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted
from mlops_lab.settings import Settings

MANIFEST, HOME = "manifest.json", "home"
# Log files, and what is made again: downloaded models.
LEFT_OUT = {"logs", "models"}
TEMPORARY = (".part", ".pid", ".lock", "-wal", "-shm", "-journal")
# What is on its way into a database, and so is copied before them.
FIRST = ("spool", "incoming", "data-api.json")

# Where a MLflow store keeps absolute paths (MLflow 3.17).
MLFLOW_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
    ("datasets", "dataset_source"),
)


class BackupError(LabError):
    """A backup can't be made, is damaged, or can't be restored here."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    home:     the LAB_HOME that was copied; MLflow's store names it in its paths.
    revision: of RawData's tables.
    files:    size in bytes and sha256 of each file, by its path in the backup.
    """

    release: str
    revision: str
    made_at: str
    home: str
    files: dict[str, tuple[int, str]]


def backup(settings: Settings, folder: Path, progress: Callable[[str], None]) -> Manifest:
    """Copies LAB_HOME into a new folder. The folder appears when it is complete.

    Raises `BackupError` when there is no lab, or when the folder exists.
    """
    home = settings.home.resolve()
    if not (home / "RawData.db").is_file():
        raise BackupError(f"there is no lab in {home}; set LAB_HOME to the lab that is to be copied")
    if folder.exists():
        raise BackupError(f"{folder} exists; name a new folder")
    if home in folder.resolve().parents:
        raise BackupError(f"{folder} is inside the lab; name a folder outside of {home}")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o700)
    files: dict[str, tuple[int, str]] = {}
    for path in _in_order(home):
        target = part / HOME / path.relative_to(home)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A file can be moved on while the lab runs, for example from the spool into the database.
        with suppress(FileNotFoundError):
            _copy(path, target)
            files[str(target.relative_to(part))] = (target.stat().st_size, _digest(target))
    manifest = Manifest(version("mlops-lab"), NEWEST, now().isoformat(), str(home), files)
    (part / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1))
    part.rename(folder)
    size = sum(size for size, _ in files.values())
    progress(f"{counted(len(files), 'file')}, {size / 1e6:.1f} MB, copied to {folder}")
    return manifest


def restore(settings: Settings, folder: Path, progress: Callable[[str], None]) -> Manifest:
    """Makes LAB_HOME of a backup. LAB_HOME appears when it is complete.

    Every file is checked before anything is written. Raises `BackupError` when the backup is damaged or of a newer
    release, or when LAB_HOME has files already.
    """
    home = settings.home.resolve()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BackupError(f"{home} has files; set LAB_HOME to a new folder, or move this one away")
    manifest = check(folder)
    part = home.with_name(f"{home.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(folder / HOME, part)
    part.chmod(0o700)
    relocate(part / "mlflow.db", manifest.home, str(home))
    if home.exists():
        home.rmdir()
    part.rename(home)
    progress(f"{counted(len(manifest.files), 'file')} of {manifest.made_at[:16]} UTC restored to {home}")
    return manifest


def check(folder: Path) -> Manifest:
    """The manifest of a whole backup. Raises `BackupError` with the first file that is missing or was changed."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BackupError(f"{folder} is no backup of a lab: its {MANIFEST} can't be read") from error
    if manifest.revision > NEWEST:
        raise BackupError(f"{folder} was made by a newer release ({manifest.release}); update the code")
    for name, (size, digest) in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BackupError(f"the backup is damaged: {name} is missing; nothing was restored")
        if path.stat().st_size != size or _digest(path) != digest:
            raise BackupError(f"the backup is damaged: {name} was changed; nothing was restored")
    return manifest


def relocate(store: Path, before: str, after: str) -> None:
    """Changes the paths in a MLflow store from one LAB_HOME to another."""
    with closing(sqlite3.connect(store)) as db, db:
        for table, column in MLFLOW_PATHS:
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608 (constants)
            db.execute(change, (f"{before}/", f"{after}/"))


def _in_order(home: Path) -> Iterator[Path]:
    """The files to copy: those that are on their way into a database, the databases, the others."""

    def rank(path: Path) -> int:
        name = path.relative_to(home).parts[0]
        return 0 if name in FIRST else 1 if path.suffix == ".db" else 2

    # The payloads and artifacts are listed after the databases were copied, so that none of those named is missing.
    for wanted in range(3):
        found = (path for path in home.rglob("*") if path.is_file() and rank(path) == wanted)
        yield from sorted(path for path in found if _kept(path.relative_to(home)))


def _kept(path: Path) -> bool:
    return path.parts[0] not in LEFT_OUT and not path.name.endswith(TEMPORARY)


def _copy(path: Path, target: Path) -> None:
    """Copies a file with its mode; of a SQLite database a consistent state, also while others write."""
    if path.suffix != ".db":
        shutil.copy2(path, target)
        return
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    target.chmod(0o600)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
