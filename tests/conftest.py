"""Fixtures for several folders: a lab in an empty folder, a small use case, a scripted Data API."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from mlops_lab.lab import Lab
from mlops_lab.settings import REPOSITORY, Settings
from mlops_lab.steps.promote import roll_back
from tests.support.data_api import END, CourseServer
from tests.support.flats import FLATS
from tests.support.labs import Templates
from tests.support.s3 import Store, make_buckets, seaweedfs, until_it_stores

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# On a busy machine an example may take longer than the default deadline of 200 ms.
hypothesis.settings.register_profile("lab", deadline=None)
hypothesis.settings.load_profile("lab")

# The pages: one set of services for Streamlit and Gradio.
pytest_plugins = ["tests.support.marks", "tests.support.pages"]


def pytest_terminal_summary(terminalreporter):
    """Prints the values of `record_property`. docs/stack.md, docs/cluster.md and the runbooks quote them."""
    # A test that fails at its end has measured, too.
    ended = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    figures = [(report.location[2], *figure) for report in ended for figure in report.user_properties]
    if figures:
        terminalreporter.section("measured")
    for test, name, value in figures:
        terminalreporter.write_line(f"{test}: {name} {value}")


REAL_DATA = Path(os.environ.get("LAB_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Streamlit puts a page's script in the place of `__main__`, which a process that a later test spawns would run."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture
def course():
    server = CourseServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def flats_folder(tmp_path_factory) -> Path:
    """A folder of use cases with `flats` alone. Tests that add files make a folder of their own."""
    folder = tmp_path_factory.mktemp("use_cases")
    (folder / "flats.py").write_text(FLATS)
    return folder


@pytest.fixture(scope="session")
def templates(tmp_path_factory, flats_folder) -> Templates:
    """Shared by all workers: the folder of a worker is in the folder of the test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "templates"
    folder.mkdir(exist_ok=True)
    return Templates(folder, flats_folder)


@pytest.fixture(scope="session")
def s3_store(tmp_path_factory) -> Iterator[Store]:
    """A store of the S3 API, not MinIO, with the buckets that the stack's one-shot makes. Its tests are one group."""
    folder = tmp_path_factory.mktemp("s3")
    with seaweedfs(folder) as store:
        made = make_buckets(store, folder / "secrets", store.keys("root"))
        assert made.returncode == 0, made.stderr
        until_it_stores(store)
        yield store


@pytest.fixture
def lab(tmp_path, course, templates, flats_folder) -> Lab:
    """A lab with the small use case and a scripted Data API, before its first batch."""
    home = tmp_path / "lab"
    templates.copy_empty(home)
    return Lab(Settings(home=home, use_cases=flats_folder, data_api_url=course.url), progress=lambda _: None)


@pytest.fixture
def trained(lab, course, templates) -> Lab:
    """The lab after its first batch, 600 rows; the Data API has no further one."""
    templates.copy_trained(lab.settings.home, rows=600)
    course.will_answer(END)
    return lab


@pytest.fixture
def use_case(lab):
    return lab.use_case("flats")


@pytest.fixture
def two(trained, use_case) -> tuple[int, int]:
    """(champion, challenger): the challenger is better on the test rows."""
    by_score = sorted(trained.registry.versions("flats"), key=lambda version: version.facts.test)
    challenger, champion = by_score[0].version, by_score[-1].version
    if trained.ledger.standing("flats").champion != champion:
        roll_back(trained, use_case, champion)
    return champion, challenger


@pytest.fixture
def without_pictures(monkeypatch) -> None:
    """Trainings draw no plots, which take a third of a small one. tests/notebooks sees those of a whole loop."""
    monkeypatch.setattr("mlops_lab.model.figures.draw", lambda *_: [])


@pytest.fixture
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip("the real data sets aren't here (LAB_TEST_DATA)")
    return REAL_DATA
