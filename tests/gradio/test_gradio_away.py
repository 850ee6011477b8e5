"""The Gradio page's handlers with the inference service away, or with a service that can't read the registry."""

import importlib
from types import ModuleType

import pytest

from mlops_lab import client
from mlops_lab.client import InferenceClient
from tests.support import processes

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("pages")]


@pytest.fixture(scope="module")
def page() -> ModuleType:
    """The page's handlers. Gradio takes two seconds to load, in every worker that collects this file."""
    return importlib.import_module("gradio_app.events")


HOUSING = (("housing", "House price", 1, None),)


@pytest.mark.parametrize("fault", ["doesn't answer", "takes too long"])
def test_an_away_service_is_not_one_without_versions(page, fault):
    with processes.silent_address() as silent:
        url = processes.away() if fault == "doesn't answer" else f"http://{silent}"
        events = page.Events(InferenceClient(url, timeout=1))
        for served in (None, ("housing", 1)):
            about, _, scores, table, shown = events.history(served, None)
            assert about.startswith("**A service is unavailable:** The inference service")
            assert fault in about
            assert not any(part.visible for part in (scores, table))
            assert shown is None
        *unchanged, notice = events.probe(HOUSING, None)
        assert fault in notice.value
        assert all(update == {"__type__": "update"} for update in unchanged)


def test_a_service_that_cannot_read_the_registry_is_not_one_without_models(page, unread, monkeypatch):
    # A busy machine isn't a silent service.
    monkeypatch.setattr(client, "QUICK", processes.PATIENCE)
    events = page.Events(InferenceClient(unread.url, timeout=processes.PATIENCE))
    why = "The model registry does"
    about, *_ = events.history(None, None)
    assert why in about
    assert page.NO_VERSION not in about
    assert why in events.probe((), None)[3].value
    # What was served before stays in the list and in the form, and is not said to be served now.
    _, _, models, notice = events.probe(HOUSING, None)
    assert [name for name, _, version, _ in models if version is None] == ["housing"]
    assert why in notice.value
    kept, trouble = page.serve("housing", models, ("housing", 1))
    assert kept == ("housing", 1)
    assert "the model registry does" in trouble.value
    assert "No model is served yet" not in notice.value + trouble.value
