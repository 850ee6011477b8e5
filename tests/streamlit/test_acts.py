"""Approve, reject and roll back on the page Models, by Airflow. The real Airflow's part is in tests/test_demo.py."""

import json
from collections.abc import Callable, Iterator

import pytest
from streamlit.testing.v1 import AppTest

from mlops_lab.settings import REPOSITORY
from tests.support import processes
from tests.support.airflow import Airflow

HOSTILE = "better <img src=x> ![a](http://elsewhere/b.png)"
RUNS = "/api/v2/dags/housing_rollback/dagRuns"
ASKED = "/api/v2/dags/housing_approval/dagRuns/~/hitlDetails"
QUESTION = {
    "hitl_details": [
        {
            "subject": "House price: promote version 3?",
            "task_instance": {"dag_run_id": "decision-4", "state": "awaiting_input"},
        }
    ]
}


def page(versions: str) -> None:
    import json

    import ui_acts

    from mlops_lab.client import ModelVersion

    ui_acts.acts("housing", [ModelVersion.model_validate(one) for one in json.loads(versions)])


def version(number: int, outcome: str, *aliases: str) -> dict:
    tags = {
        "lab.candidate": "ridge",
        "lab.metric": "rmse",
        "lab.test": "0.5",
        "lab.batch_number": str(number),
    }
    return {
        "version": number,
        "aliases": aliases,
        "tags": tags | {"lab.outcome": outcome, "lab.reason": HOSTILE},
    }


VERSIONS = [
    version(3, "waiting", "challenger"),
    version(2, "promoted", "champion"),
    version(1, "promoted", "previous"),
]


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    with Airflow() as server:
        server.replies = {
            ASKED: QUESTION,
            "/api/v2/dags/housing_approval/dagRuns/decision-4": {"state": "success"},
        }
        yield server


@pytest.fixture
def show(monkeypatch, airflow) -> Iterator[Callable[..., AppTest]]:
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_acts
    import ui_settings

    monkeypatch.setattr(ui_acts, "PATIENCE", 0.1)
    monkeypatch.setenv("LAB_AIRFLOW_API_URL", airflow.url)
    ui_settings.settings.cache_clear()

    def start(versions: list[dict] = VERSIONS) -> AppTest:
        arguments = (json.dumps(versions),)
        app = AppTest.from_function(page, default_timeout=processes.PATIENCE, args=arguments).run()
        assert not app.exception, app.exception[0].value
        return app

    yield start
    ui_settings.settings.cache_clear()


def button(app: AppTest, label: str):
    return next(one for one in app.get("button") if one.label == label)


def words(app: AppTest) -> str:
    return "\n".join(
        one.value for kind in ("markdown", "warning", "error", "success") for one in app.get(kind)
    )


def signed_in(app: AppTest, act: str) -> AppTest:
    button(app, act).click().run()
    app.text_input("act user").set_value("ana")
    app.text_input("act password").set_value("not to keep")
    button(app, "Sign in").click().run()
    assert not app.exception, app.exception[0].value
    return app


def decided(app: AppTest, label: str) -> AppTest:
    app.text_area("act reason").set_value("callers complain")
    button(app, label).click().run()
    assert not app.exception, app.exception[0].value
    return app


def test_without_an_address_of_airflow_the_page_offers_nothing(show, monkeypatch):
    import ui_settings

    monkeypatch.delenv("LAB_AIRFLOW_API_URL")
    ui_settings.settings.cache_clear()
    assert not show().get("button")


def test_only_what_is_possible_is_offered(show):
    labels = [one.label for one in show().get("button")]
    assert labels == ["Approve version 3 …", "Reject version 3 …", "Roll back …"]
    assert not show([version(2, "promoted", "champion")]).get("button")


def test_the_dialog_says_what_will_happen_and_the_login_is_neither_kept_nor_in_the_address(show, airflow):
    app = show()
    button(app, "Approve version 3 …").click().run()
    text = words(app)
    assert (
        "**Champion until now:** version 2, ridge, trained after batch 2, Root mean squared error 0.5 on"
        in text
    )
    assert "**Champion from now on:** version 3" in text
    assert "<img" not in text.replace("\\<img", "")
    assert "![a]" not in text
    app.text_input("act user").set_value("ana")
    app.text_input("act password").set_value("wrong")
    button(app, "Sign in").click().run()
    assert "Airflow refuses this user and password." in words(app)
    assert not airflow.sent
    app = signed_in(show(), "Approve version 3 …")
    assert "act password" in app.session_state
    assert "not to keep" not in repr(app.session_state)
    assert not app.query_params

    button(app, "Approve").click().run()
    assert "The reason is missing" in words(app)
    assert not any(one.startswith("PATCH") for one in airflow.sent)
    app = decided(app, "Approve")
    place = "/api/v2/dags/housing_approval/dagRuns/decision-4/taskInstances/ask/-1/hitlDetails"
    assert airflow.sent[-2] == f"PATCH {place}"
    answer = {"chosen_options": ["Approve"], "params_input": {"reason": "callers complain"}}
    assert json.loads(airflow.asked[-2]) == answer
    assert "Done: version 3 is champion now." in words(app)


def test_a_rollback_names_both_versions_and_says_how_it_ends(show, airflow):
    app = signed_in(show(), "Roll back …")
    run = airflow.replies[f"{RUNS}/*"] = {"state": "running"}
    app = decided(app, "Roll back to version 1")
    [sent] = [
        json.loads(body)
        for body, one in zip(airflow.asked, airflow.sent, strict=True)
        if one.startswith("POST")
    ]
    assert sent["conf"] == {"version": 1, "champion": 2, "reason": "callers complain"}
    assert "Airflow carries it out: running" in words(app)
    run["state"] = "success"
    assert "Done: version 1 is champion again." in words(app.run())
    button(app, "Close").click().run()
    assert not app.get("text_area")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "Your login has ended; sign in again."),
        (403, "Airflow doesn't allow you this"),
        (404, "Airflow has no DAG for this"),
        (409, "Somebody else was quicker"),
        (503, "Airflow doesn't answer, so nothing was decided"),
    ],
)
def test_a_fault_is_one_line_and_nothing_is_lost(show, airflow, status, said):
    app = signed_in(show(), "Reject version 3 …")
    # The question is read, the answer is refused.
    airflow.will = [200, *[status] * 9]
    app = decided(app, "Reject")
    airflow.will = []
    assert said in words(app)
    if status == 401:
        assert app.get("text_input")
    else:
        assert app.text_area("act reason").value == "callers complain"


def test_a_question_that_airflow_does_not_ask_any_more_is_said(show, airflow):
    app = signed_in(show(), "Reject version 3 …")
    airflow.replies = {ASKED: {"hitl_details": []}}
    assert "Airflow doesn't ask about version 3" in words(decided(app, "Reject"))
