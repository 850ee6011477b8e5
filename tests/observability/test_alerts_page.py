"""The System page with an Alertmanager that answers (its own reply, recorded from 0.33.1) and one that doesn't."""

import pytest
from streamlit.testing.v1 import AppTest

from mlops_lab.settings import REPOSITORY
from tests.support.alertmanager import WATCHDOG, Alertmanager, alert

FIRING = [
    WATCHDOG,
    alert("InputDrift", "ticket", "bed of housing has drifted (PSI 3.1)"),
    alert("InferenceDown", "page", "No replica answers", "Nobody gets a prediction."),
]
NOWHERE = "there is no Alertmanager"


@pytest.fixture
def system(monkeypatch):
    """The page, as a function of Alertmanager's reply (None: it doesn't answer; NOWHERE: there is none)."""
    with Alertmanager() as server:

        def show(reply: list | bytes | str | None, runbook: str = "") -> AppTest:
            server.alerts = reply
            for name in ("INFERENCE", "MLFLOW", "DATA_API"):
                monkeypatch.setenv(f"LAB_{name}_URL", "http://127.0.0.1:1")
            if reply == NOWHERE:
                monkeypatch.delenv("LAB_ALERTMANAGER_URL", raising=False)
            else:
                url = "http://127.0.0.1:1" if reply is None else server.url
                monkeypatch.setenv("LAB_ALERTMANAGER_URL", url)
            monkeypatch.syspath_prepend(str(REPOSITORY / "streamlit"))
            forget()
            view = str(REPOSITORY / "streamlit" / "views" / "system.py")
            app = AppTest.from_file(view, default_timeout=60)
            # The page's head, which isn't drawn here, has looked and found no fault.
            import ui_frame

            app.session_state[ui_frame._NEWS] = ui_frame.News((), (), ())
            if runbook:
                app.query_params["alert"] = runbook
            return app.run()

        yield show
        forget()


def forget() -> None:
    import ui_settings

    import streamlit

    ui_settings.settings.cache_clear()
    streamlit.cache_resource.clear()


def test_firing_alerts_are_first_and_link_to_their_runbooks(system):
    page = system(FIRING)
    assert not page.exception
    assert "No replica answers" in page.error[0].value
    assert "(system?alert=InferenceDown)" in page.error[0].value
    shown = [warning.value for warning in page.warning]
    assert any("bed of housing has drifted" in text for text in shown)
    # What people did is unknown, and one line says so.
    assert sum("A service is unavailable" in text for text in shown) == 1
    assert "Acknowledge or conclude" not in [expander.label for expander in page.expander]


def test_nothing_fires(system):
    page = system([WATCHDOG])
    assert page.success[0].value == "Nothing fires."
    assert not page.error
    assert "evaluates its rules" not in str(page.main)


def test_while_prometheus_does_not_report_the_page_does_not_say_that_nothing_fires(system):
    page = system([])
    assert not page.success
    assert "Prometheus doesn't report to Alertmanager" in page.warning[0].value
    page = system(FIRING[1:])
    assert "Prometheus doesn't report to Alertmanager" in page.warning[0].value
    assert "No replica answers" in page.error[0].value


@pytest.mark.parametrize(
    ("reply", "words"), [(None, "Alertmanager doesn't answer"), (b"<html>", "isn't an Alertmanager")]
)
def test_an_unreachable_alertmanager_is_one_clear_line(system, reply, words):
    page = system(reply)
    assert not page.exception
    assert words in page.warning[0].value


@pytest.mark.parametrize("alert", ["DagFailed", "", "nonsense"])
def test_the_runbooks_are_on_the_page_and_the_chosen_one_is_open(system, alert):
    page = system([WATCHDOG], alert)
    assert not page.exception
    names = [expander.label for expander in page.expander]
    assert len(names) > 20
    assert {"DagFailed", "DiskFilling"} <= set(names)
    opened = [heading.value for heading in page.subheader if heading.value.startswith("What to do")]
    assert opened == (["What to do: DagFailed"] if alert == "DagFailed" else [])


def test_without_alertmanager_the_runbooks_are_hidden_but_a_link_still_opens_one(system):
    assert not system(NOWHERE).expander
    page = system(NOWHERE, "DiskFilling")
    assert not page.expander
    assert "What to do: DiskFilling" in [heading.value for heading in page.subheader]
