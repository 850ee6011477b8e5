"""The Live page against the real services: traffic, scores, a trial, and the way of a prediction to its payloads."""

import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import delete
from sqlalchemy.orm import Session

from mlops_lab.data.database import connect
from mlops_lab.data.tables import Check, LiveScore
from mlops_lab.errors import ContractError
from mlops_lab.live_client import LiveClient, LoggedPrediction
from mlops_lab.model.trial import Trial
from tests.support import contracts, processes
from tests.support.streamlit_app import words

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("pages")]


@pytest.fixture
def auditor(inference) -> LiveClient:
    return LiveClient(inference.url, processes.PATIENCE, key=SecretStr(processes.READING_KEY))


@pytest.fixture
def logged(auditor) -> LoggedPrediction:
    """A prediction of five bedrooms in the log, beside a refused one."""
    row = contracts.housing().example
    [known] = auditor.predict("housing", [row | {"bed": 5}]).prediction_ids
    with pytest.raises(ContractError):
        auditor.predict("housing", [row | {"bed": -1}])
    end = time.monotonic() + processes.PATIENCE
    while known not in [entry.id for entry in auditor.predictions("housing", 50)]:
        assert time.monotonic() < end, "it is logged"
        time.sleep(0.1)
    return auditor.prediction(known)


@pytest.fixture
def checked(past, folder) -> Iterator[Check]:
    """The newest monitoring check, with an estimate that is worse than the test interval."""
    engine = connect(f"sqlite:///{folder / 'home' / 'RawData.db'}")
    check = Check(
        use_case="housing",
        version=1,
        rows=700,
        labelled=160,
        metric="rmse_log",
        live_score=0.41,
        test_score=0.332,
        test_low=0.32,
        test_high=0.344,
        estimated_score=0.39,
        estimated_low=0.371,
        estimated_high=0.409,
        estimated_worse=True,
        passed=True,
        reason="bed has drifted in the served rows (PSI 0.31 > 0.25, 700 rows)",
    )
    score = {"use_case": "housing", "run_id": "r", "metric": "rmse_log", "checked_at": check.checked_at}
    with Session(engine, expire_on_commit=False) as db, db.begin():
        db.add(check)
        db.add(LiveScore(version=1, arm="champion", labelled=160, score=0.41, **score))
    yield check
    with engine.begin() as db:
        db.execute(delete(Check))
        db.execute(delete(LiveScore))


def test_traffic_and_the_errors_of_predictions_beside_the_test_interval(show, logged, checked):
    app = show.show("live")
    figures = {metric.label: metric.value for metric in app.metric}
    assert list(figures) == [
        "Requests a minute",
        "Half within",
        "95% within",
        "99% within",
        "Failed or refused",
    ]
    assert float(figures["Requests a minute"]) > 0
    assert all(figures[name].endswith("s") for name in figures if "within" in name)
    assert figures["Failed or refused"] != "0.00%"
    table = app.dataframe[0].value
    assert table["Requests for"].iloc[0] == "Predictions"
    assert table["Failed"].iloc[0] >= 1
    said = words(app)
    assert "The estimate is worse than the test interval" in said
    # By the field's title, as on every page.
    assert "Bedrooms has drifted in the served rows" in said
    assert "on 700 predictions" in said
    chart = str(app.get("vega_lite_chart")[0].proto)
    for known in ("Estimated, before the truth comes: 0.39", "Measured, version 1, 160 labels: 0.41"):
        assert known in chart.replace("\\\\", "")


def test_the_log_needs_the_right_to_read_and_leads_to_the_payloads(show, logged, past):
    app = show.show("live")
    said = words(app)
    assert said.count("the API key pages has no right to read") == 1
    assert logged.id not in str(app.main)

    app.text_input(key="typed key for the log").input("wrong").run()
    assert "isn't known to this service" in words(app)
    app.text_input(key="typed key for the log").input(processes.READING_KEY).run()
    assert logged.id in app.dataframe[-1].value["Prediction id"].tolist()
    # The key stays, although its box is gone.
    app.run()
    app.text_input(key="prediction id").input(f" {logged.id.upper()} ").run()
    assert not app.exception
    said = words(app)
    assert (
        "**Version** 1 of housing, gradient\\_boosting" in said
        or "**Version** 1 of housing, gradient_boosting" in said
    )
    assert f"/runs/{logged.run_id}" in said
    tables = [frame.value for frame in app.dataframe]
    [payloads] = [table for table in tables if "Payload, as it arrived" in table]
    assert payloads["Batch"].tolist() == ["housing-batch-0"]
    assert payloads["Payload, as it arrived"].iloc[0].startswith("bucket/payloads/housing/")
    [row] = [table for table in tables if "Field" in table]
    assert dict(zip(row["Field"], row["Value"], strict=True))["Bedrooms"] == "5"

    app.text_input(key="prediction id").input("f" * 32).run()
    assert "no prediction ffff" in words(app)
    app.text_input(key="prediction id").input("<img src=x>").run()
    assert "32 hexadecimal digits" in words(app)


def test_a_running_trial_is_shown(show, past, auditor):
    past.registry.set_trial("housing", Trial(4, 1))
    try:
        end = time.monotonic() + processes.PATIENCE
        while not [m.trial for m in auditor.models().models if m.use_case == "housing" and m.trial]:
            assert time.monotonic() < end, "it runs"
            time.sleep(0.1)
        assert "**Shadow:** version 4 predicts the same rows" in words(show.show("live"))
    finally:
        past.registry.set_trial("housing", None)
