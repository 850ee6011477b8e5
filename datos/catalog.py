"""The data sets that exist now: the files in the folder, and synthetic data where there is no file."""

import threading
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from datos.dataset import Dataset, DatasetError
from datos.files import CsvFile, Slicing
from datos.settings import DatosSettings
from datos.synthetic.clinic import Clinic
from datos.synthetic.forest import Forest
from datos.synthetic.market import Market
from mlops_lab.errors import LabError
from mlops_lab.files import dataset_name

CONFIG = "datasets.toml"
SYNTHETIC = {"realtor": Market, "diabetes": Clinic, "covertype": Forest}
ROWS_PER_BATCH = {"realtor": 30_000}


class UnknownDatasetError(LabError):
    """No data set has this name; the text lists the names."""


class Catalog:
    """Finds data sets by name; a file that is added, changed or removed counts at the next call."""

    def __init__(self, settings: DatosSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[object, Dataset | DatasetError]] = {}

    def names(self) -> list[str]:
        """Names of all data sets, those that can't be served included."""
        return sorted({*SYNTHETIC, *self._files()})

    def get(self, name: str) -> Dataset:
        """The data set `name`. Raises UnknownDatasetError, or DatasetError when its file can't be served."""
        files = self._files().get(name, [])
        if not files and name not in SYNTHETIC:
            there = f"no data set {name!r}; there are {', '.join(self.names())}"
            folder = self._settings.folder
            raise UnknownDatasetError(f"{there}; put {name}.csv into {folder}" if folder else there)
        with self._lock:
            signature = (
                self._config_signature(),
                tuple(_signature(path) for path in files),
            )
            known = self._loaded.get(name)
            if known is None or known[0] != signature:
                known = (signature, self._load(name, files))
                self._loaded[name] = known
        if isinstance(known[1], DatasetError):
            raise known[1]
        return known[1]

    def _load(self, name: str, files: list[Path]) -> Dataset | DatasetError:
        try:
            if not files:
                return SYNTHETIC[name](seed=self._settings.seed, scale=self._settings.scale)
            if len(files) > 1:
                both = " and ".join(path.name for path in files)
                raise DatasetError(f"{both} are both the data set {name}; rename one or move it away")
            return CsvFile(files[0], self._slicing(name))
        except DatasetError as error:
            return error

    def _files(self) -> dict[str, list[Path]]:
        folder = self._settings.folder
        files: dict[str, list[Path]] = {}
        if folder is not None and folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.name.lower().endswith((".csv", ".csv.gz")) and not path.name.startswith("."):
                    files.setdefault(dataset_name(path.name), []).append(path)
        return files

    def _slicing(self, name: str) -> Slicing:
        folder = self._settings.folder
        table: dict[str, Any] = {}
        if folder is not None and (path := folder / CONFIG).exists():
            try:
                table = tomllib.loads(path.read_text()).get(name, {})
            except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise DatasetError(f"{CONFIG} can't be read: {error}") from error
        try:
            return Slicing.model_validate({"rows_per_batch": ROWS_PER_BATCH.get(name, 15_000)} | table)
        except (ValidationError, TypeError) as error:
            first = (
                error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            )
            field = ".".join([name, *map(str, first["loc"])])
            raise DatasetError(f"{CONFIG}: {field}: {first['msg']}") from error

    def _config_signature(self) -> object:
        folder = self._settings.folder
        return None if folder is None else _signature(folder / CONFIG)


def _signature(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError:
        return None
    return path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino
