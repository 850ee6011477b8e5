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


@pytest.fixture
def system(monkeypatch):
    """The page, as a function of Alertmanager's reply (None: it doesn't answer)."""
    with Alertmanager() as server:

        def show(reply: list | bytes | None) -> AppTest:
            server.alerts = reply
            for name in ("INFERENCE", "MLFLOW"):
                monkeypatch.setenv(f"LAB_{name}_URL", "http://127.0.0.1:1")
            monkeypatch.setenv("LAB_ALERTMANAGER_URL", "http://127.0.0.1:1" if reply is None else server.url)
            monkeypatch.syspath_prepend(str(REPOSITORY / "streamlit"))
            import ui_settings

            ui_settings.settings.cache_clear()
            view = str(REPOSITORY / "streamlit" / "views" / "system.py")
            return AppTest.from_file(view, default_timeout=60).run()

        yield show
    import ui_settings

    ui_settings.settings.cache_clear()


def test_firing_alerts_are_first_and_link_to_their_runbooks(system):
    page = system(FIRING)
    assert not page.exception
    assert "No replica answers" in page.error[0].value
    assert "(runbooks?alert=InferenceDown)" in page.error[0].value
    shown = [warning.value for warning in page.warning]
    assert any("bed of housing has drifted" in text for text in shown)
    # What people did is unknown, and one line says so.
    assert sum("A service is unavailable" in text for text in shown) == 1
    assert not page.expander


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
def test_a_runbook_opens_alone_and_all_open_without_a_name(alert):
    page = AppTest.from_file(str(REPOSITORY / "streamlit" / "views" / "runbooks.py"), default_timeout=60)
    page.query_params["alert"] = alert
    page.run()
    assert not page.exception
    shown = page.markdown[0].value
    assert shown.startswith("# DagFailed" if alert == "DagFailed" else "# Runbooks")
    assert ("## DiskFilling" in shown) == (alert != "DagFailed")
