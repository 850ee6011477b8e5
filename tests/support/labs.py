"""Labs in empty folders, copied from templates: MLflow needs seconds to make a store, a training needs more."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

from mlflow.entities import LoggedModel
from sqlalchemy import text

from mlops_lab.lab import Lab
from mlops_lab.local.backup import relocate
from mlops_lab.loop import run_batch
from mlops_lab.model.mlflow_store import make_store
from mlops_lab.settings import Settings
from tests.support.data_api import CourseServer
from tests.support.flats import batch, flats


class Templates:
    """Homes of labs, each made once and copied for each test that needs it.

    folder:    where the templates are kept; the workers of one test run share it.
    use_cases: folder with the file of the use case `flats`.
    """

    def __init__(self, folder: Path, use_cases: Path):
        self._folder = folder
        self._use_cases = use_cases

    def copy_empty(self, home: Path) -> None:
        """A home with an empty MLflow store."""
        home.mkdir(parents=True)
        shutil.copy(self._made("empty", self._make_empty) / "mlflow.db", home)

    def copy_trained(self, home: Path, rows: int = 600) -> None:
        """A home after one batch, `flats(rows)`: rows in both databases, two versions, one champion."""
        copy_home(self._made(f"trained-{rows}", lambda made: self._make_trained(made, rows)), home)

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        """The template of that name. The first worker that needs it makes it, the others wait."""
        home, done = self._folder / name, self._folder / f"{name}.done"
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                make(home)
                done.touch()
        return home

    def _make_empty(self, home: Path) -> None:
        home.mkdir()
        make_store(f"sqlite:///{home}/mlflow.db")

    def _make_trained(self, home: Path, rows: int) -> None:
        self.copy_empty(home)
        server = CourseServer()
        server.will_answer(batch(1, flats(rows)))
        settings = Settings(home=home, use_cases=self._use_cases, data_api_url=server.url)
        lab = Lab(settings, progress=lambda _: None)
        assert run_batch(lab, lab.use_case("flats")).outcome.promoted
        lab.store.raw.dispose()
        lab.store.clean.dispose()
        server.close()


def copy_home(source: Path, target: Path) -> None:
    """Copies a lab's home that no process has open; the paths in its MLflow store then point into the copy."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    relocate(target / "mlflow.db", str(source.resolve()), str(target.resolve()))


def logged_models(lab: Lab) -> list[LoggedModel]:
    """MLflow's logged models of `flats`, the newest first."""
    client = lab.registry.client
    found = client.get_experiment_by_name("flats")
    assert found is not None
    return list(client.search_logged_models([found.experiment_id]))


def change_clean(lab: Lab, statement: str) -> int:
    """Changes CleanData by hand; returns the number of rows. The snapshots are made again from it."""
    with lab.store.clean.begin() as db:
        changed = db.execute(text(statement)).rowcount
    lab.artifacts.delete("snapshots")
    return changed
