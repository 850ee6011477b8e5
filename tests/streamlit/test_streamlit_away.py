"""Each page with each service away: it says what it doesn't know, and shows no zero, no empty list, no traceback.

Silent is a service that accepts connections and never answers. The pages run in this process, without a browser.
"""

import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from mlops_lab import client
from mlops_lab.data.database import connect
from mlops_lab.data.log_tables import AlertNote
from mlops_lab.data.tables import Promotion
from mlops_lab.model.registry import Registry
from mlops_lab.model.tags import BatchTags, CandidateTags, ModelTags, VersionTags
from mlops_lab.model.tracking import Tracking
from tests.support import contracts, processes
from tests.support.streamlit_app import words

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("pages")]

# What a page says when it knows that there is nothing.
NOTHING = (
    "No model is served",
    "No version is registered",
    "No champion yet",
    "No batch has landed",
    "Nothing fires",
    "has no plots",
    "No row of this batch was quarantined",
    "has no quarantine table",
    "was deleted from MLflow",
    "serves no model yet",
)


def test_with_every_service_there_the_pages_know_everything(show):
    for name in ("loop", "predict", "models", "data", "live", "system"):
        said = words(show.show(name))
        for text in ("unavailable", "doesn't answer", "unknown (yet)", "takes too long"):
            assert text not in said, (name, said)


def test_a_full_run_of_a_page_makes_few_calls(show, monkeypatch):
    """What can't change any more is asked for once, whichever tab shows it."""
    calls, send = [], httpx.Client.send

    def counted(client, request, **more):
        calls.append(request.url.path)
        return send(client, request, **more)

    monkeypatch.setattr(httpx.Client, "send", counted)
    for name, first in {"models": 7, "data": 6}.items():
        app = show.show(name)
        assert len(calls) <= first, calls
        calls.clear()
        app.run()
        assert not app.exception
        # Beside the probe, which all tabs share.
        again = [path for path in calls if path not in ("/models", "/api/2.0/mlflow/experiments/search")]
        assert len(again) == 1, again
        calls.clear()


@pytest.mark.parametrize("fault", ["refuses", "is silent"])
@pytest.mark.parametrize(
    ("service", "known"),
    [
        # By page, what it still tells.
        (
            "inference",
            {
                "loop": "8% of its groups",
                "predict": "",
                "models": "",
                "data": "18,465",
                "live": "",
                "system": "Healthy, ",
            },
        ),
        (
            "mlflow",
            {
                "loop": "",
                "predict": "House price",
                "models": "",
                "data": "",
                "live": "for predictions since",
                "system": "Serves ",
            },
        ),
    ],
)
def test_a_page_says_which_service_is_away(show, monkeypatch, service, known, fault):
    import ui_frame
    import ui_services
    import ui_traffic

    if fault == "is silent":
        monkeypatch.setattr(ui_frame, f"{service.upper()}_SECONDS", 0.3)
        for module in (ui_services, ui_traffic):
            monkeypatch.setattr(module, "SECONDS", 0.3)
    with processes.silent_address() as silent:
        address = f"http://{silent}" if fault == "is silent" else processes.away()
        for name, text in known.items():
            said = words(show.show(name, **{service: address}))
            assert text in said, (name, said)
            assert {"inference": "Inference", "mlflow": "MLflow"}[service] + " is unavailable" in said
            # The page itself, too, where it needs the service.
            if name == "system" or not text:
                why = "doesn't answer" if fault == "refuses" else "takes too long"
                assert f"at {address} {why}" in said, (name, said)
            for nothing in NOTHING:
                assert nothing not in said or (nothing == "Nothing fires" and name == "system"), (name, said)


def test_a_service_that_cannot_read_the_registry_is_not_one_without_a_model(show, unread):
    for name in ("predict", "models", "system"):
        said = words(show.show(name, inference=unread.url))
        assert "Newer champions are unknown" in said
        assert "registry does" in said, (name, said)
        for nothing in NOTHING[:4]:
            assert nothing not in said, (name, said)


@pytest.mark.parametrize("fault", ["refuses", "is silent"])
def test_without_alertmanager_nothing_is_said_about_alerts(show, fault, monkeypatch):
    import ui_alerts

    monkeypatch.setattr(ui_alerts, "SECONDS", 1.0)
    with processes.silent_address() as silent:
        address = f"http://{silent}" if fault == "is silent" else processes.away()
        said = words(show.show("system", alertmanager=address))
    assert "Alertmanager doesn't answer" in said
    assert "Nothing fires" not in said


def test_without_the_database_nothing_is_said_about_notes(show, past, folder):
    engine = connect(f"sqlite:///{folder / 'home' / 'RawData.db'}")
    AlertNote.__table__.drop(engine)
    try:
        said = words(show.show("system"))
    finally:
        AlertNote.__table__.create(engine)
    assert "the database doesn't answer, so notes on alerts can't be read" in said
    assert "What people did about alerts" not in said
    assert "Nothing fires" in said


def test_a_new_page_shows_the_use_case_that_was_trained_last_and_names_an_unknown_one(show, past):
    newest = contracts.covertype().model_copy(update={"use_case": "newest", "title": "A *title*"})
    past.promote(newest)
    api = client.InferenceClient(show.addresses["inference"], 60, key=SecretStr(processes.KEY))
    end = time.monotonic() + processes.PATIENCE
    while "newest" not in [model.use_case for model in api.models().models if model.version]:
        assert time.monotonic() < end, "it is served"
        time.sleep(0.1)
    app = show.show("system", None)
    assert app.query_params["use_case"] == "newest"
    assert "A \\*title\\*: version 1 is served" in words(app)
    said = words(show.show("system", "[castles](http://elsewhere.invalid)"))
    assert "There is no use case “\\[castles\\]" in said


def test_a_full_run_of_a_page_asks_its_services_at_most_four_times(show, monkeypatch):
    import httpx
    import ui_frame

    asked, send = [], httpx.Client.request
    monkeypatch.setattr(
        httpx.Client, "request", lambda *given, **more: asked.append(given[2]) or send(*given, **more)
    )
    for name in ("loop", "predict", "data"):
        app = show.show(name)
        asked.clear()
        # What can't change is fetched once; the state of the services isn't.
        ui_frame.look.clear()
        app.run()
        assert 1 <= len(asked) <= 4, asked


def test_the_loop_shows_the_texts_of_its_records_as_they_are(show, past, folder):
    tracking = Tracking(past.registry, str(folder / "artifacts"))
    markup = "![x](http://elsewhere.invalid/p.png)"
    run = tracking.start("marked", "batch-1", BatchTags(batch_id=1, decision="train", reason=markup))
    tracking.mark(run, "train", markup, None)
    said = words(show.show("loop", "marked"))
    assert "**Train:** !\\[x\\](" in said
    assert "train: !\\[x\\](" in said
    assert markup not in said


def test_counts_that_are_unknown_are_not_zero(show, past, folder):
    tracking = Tracking(past.registry, str(folder / "artifacts"))
    tracking.start("uncounted", "batch-1", BatchTags(batch_id=1, batch_number=1))
    app = show.show("data", "uncounted")
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures == {"Batches": "1", "Rows received": "–", "New clean rows": "–", "Quarantined": "–"}
    said = words(app)
    assert "Counts of 1 batch are unknown (yet)" in said
    assert "nothing has been decided on this batch (yet)" in said
    assert "Its rows are not counted (yet)" in words(show.show("data", "uncounted", part="Quarantine"))

    # Of two batches one is counted.
    run = tracking.start("uncounted", "batch-2", BatchTags(batch_id=2, batch_number=2, decision="train"))
    tracking.log(run, metrics={"received": 50, "quarantined": 0, "clean": 40, "psi.bed": 0.3})
    app = show.show("data", "uncounted")
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures == {"Batches": "2", "Rows received": "50", "New clean rows": "40", "Quarantined": "0.00%"}
    said = words(app)
    assert "Counts of 1 batch are unknown (yet)" in said
    assert "The bound for a new training is unknown" in said
    assert "The distributions behind it aren't stored: the batch is of an earlier release." in said


def test_without_the_store_of_artifacts_files_are_not_called_missing(show, past, folder):
    strand(past.registry, folder)
    data = words(show.show("data", "stranded", part="Quarantine"))
    assert "answers 500 to artifacts/list" in data
    parts = ("Candidates", "Model card", "Pictures")
    models = "\n".join(words(show.show("models", "stranded", part=part)) for part in parts)
    asked = "**Version 1 waits for your decision:** a person decides until 2026-12-01 10:00 UTC, then it is promoted"
    assert (
        f"{asked}: `lab approve stranded 1 --reason TEXT` or `lab reject stranded 1 --reason TEXT`" in models
    )
    assert "answers 500 to artifacts/list" in models
    for said in (data, models):
        for nothing in NOTHING[5:]:
            assert nothing not in said, said


def test_a_version_whose_files_are_gone_is_no_outage(show, past, folder):
    tracking, client = Tracking(past.registry, str(folder / "artifacts")), past.registry.client
    batch = tracking.start("bare", "batch-1", BatchTags(batch_id=1, batch_number=1, decision="train"))
    client.create_registered_model("bare", tags=ModelTags(use_case="bare").to_mlflow())
    for name in ("ridge", "trees"):
        run = tracking.start("bare", name, CandidateTags(candidate=name, batch_id=1), parent=batch)
        tracking.end(run)
        facts = VersionTags(candidate=name, metric="rmse", outcome="refused").to_mlflow()
        client.create_model_version("bare", f"{client.get_run(run).info.artifact_uri}/model", run, tags=facts)
    for part in ("Model card", "Compare"):
        said = words(show.show("models", "bare", part=part))
        assert f"Not in MLflow any more: run {run} has no file model/contract.json." in said
        assert "unavailable" not in said


def strand(registry: Registry, folder: Path) -> None:
    """A use case whose files are in a bucket that MLflow's server doesn't reach (see the fixture `mlflow`)."""
    registry.client.create_experiment("stranded", artifact_location="s3://nowhere/stranded")
    tracking = Tracking(registry, str(folder))
    batch = tracking.start("stranded", "batch-1", BatchTags(batch_id=1, batch_number=1, decision="train"))
    tracking.log(batch, metrics={"received": 50, "stored": 45, "quarantined": 5, "clean": 40, "gap": 0})
    tags = CandidateTags(candidate="ridge", batch_id=1, batch_number=1)
    run = tracking.start("stranded", "ridge-1", tags, parent=batch)
    registry.client.create_registered_model("stranded", tags=ModelTags(use_case="stranded").to_mlflow())
    asked = Promotion(
        use_case="stranded",
        sequence=2,
        challenger=1,
        outcome="waiting",
        reason="0.6% less error",
        waits_until=datetime(2026, 12, 1, 10),
        default_outcome="promoted",
    )
    facts = VersionTags(candidate="ridge", metric="rmse", outcome="waiting", reason=asked.said)
    source = f"{registry.client.get_run(run).info.artifact_uri}/model"
    registry.client.create_model_version("stranded", source, run, tags=facts.to_mlflow())
