"""Services for tests: one lab that is only read, and an empty lab for each test that changes something."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inference.serving import Served, ServingLab
from tests.support import models


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The folder of the models that were built."""
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def lab(tmp_path, templates, built) -> Iterator[ServingLab]:
    yield from _lab(tmp_path / "lab", templates, built)


@pytest.fixture(scope="session")
def shared(tmp_path_factory, templates, built) -> Iterator[ServingLab]:
    """A lab with three champions, for tests that change nothing."""
    for lab in _lab(tmp_path_factory.mktemp("shared") / "lab", templates, built):
        for use_case in models.TASKS:
            lab.publish(use_case, candidate="small", outcome="promoted", reason="first champion")
        yield lab


@pytest.fixture(scope="session")
def service(shared) -> Served:
    """The service on the shared lab, in this process."""
    return shared.serve()


def _lab(home: Path, templates, built: Path) -> Iterator[ServingLab]:
    templates.copy_empty(home)
    lab = ServingLab.open(home, built)
    yield lab
    lab.close()
