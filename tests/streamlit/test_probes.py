"""What the System page and the Live page share between tabs: probes that never hold a page, and the kept scrapes."""

import json
import threading
import time

import pytest

from mlops_lab.errors import LabError
from mlops_lab.settings import REPOSITORY
from mlops_lab.traffic import Scrape
from tests.support.http_server import Handler, Server
from tests.support.processes import PATIENCE, away


@pytest.fixture
def ui(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_probes
    import ui_services
    import ui_traffic

    return {"probes": ui_probes, "services": ui_services, "traffic": ui_traffic}


def test_a_service_that_hangs_holds_no_page_and_is_asked_once(ui):
    state, release, asked = ui["probes"].State, threading.Event(), []

    def hangs():
        asked.append(1)
        release.wait(PATIENCE)
        return state(True, "there at last")

    def fails():
        raise LabError("it doesn't answer")

    probes = ui["probes"].Probes(
        {"slow": hangs, "quick": lambda: state(True, "healthy"), "away": fails}, apart=0.0, patience=0.2
    )
    end = time.monotonic() + PATIENCE
    while ui["probes"].WAITING in ((found := probes.look())["quick"], found["away"]):
        assert time.monotonic() < end, found
    # While it hangs it isn't asked again.
    found = probes.look()
    assert found["slow"] == ui["probes"].WAITING
    assert found["quick"] == state(True, "healthy")
    assert found["away"] == state(False, "it doesn't answer")
    assert len(asked) == 1
    release.set()
    patient = ui["probes"].Probes({"slow": hangs}, apart=0.0, patience=PATIENCE)
    assert patient.look()["slow"].text == "there at last"


def test_all_tabs_together_scrape_once_and_a_fault_is_not_asked_again_at_once(ui):
    made = []

    def read() -> Scrape:
        made.append(1)
        if len(made) == 2:
            raise LabError("it is away")
        return Scrape(float(len(made)), {"process_start_time_seconds": [({}, 1.0 if len(made) < 5 else 2.0)]})

    watch = ui["traffic"].Watch(read, apart=PATIENCE)
    assert [len(watch.look()) for _ in range(3)] == [1, 1, 1]
    assert len(made) == 1
    watch.apart = 0.0
    with pytest.raises(LabError, match="it is away"):
        watch.look()
    watch.apart = PATIENCE
    with pytest.raises(LabError, match="it is away"):
        watch.look()
    assert len(made) == 2
    watch.apart = 0.0
    assert len(watch.look()) == 2
    assert len(watch.look()) == 3
    # A restarted service counts from 0: what was before is no part of its figures.
    assert [scrape.at for scrape in watch.look()] == [5.0]


class Replies(Server):
    """Answers by path; a path that isn't there is 404."""

    def __init__(self, replies: dict[str, object]):
        class Answers(Handler):
            def do_GET(self):
                reply = replies.get(self.path.partition("?")[0])
                self.send_response(404 if reply is None else 200)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode())

        super().__init__(Answers)


def series(name: str, value: int, **labels: str) -> dict:
    return {"metric": {"__name__": name} | labels, "value": [1732960000, str(value)]}


def test_prometheus_tells_about_the_services_that_the_page_cannot_reach(ui):
    found = [
        series("up", 1, job="data-api", instance="data-api:8081"),
        series("up", 1, job="inference", instance="10.0.0.1:8085"),
        series("up", 0, job="inference", instance="10.0.0.2:8085"),
        series("up", 0, job="grafana"),
        series("lab_up", 1, service="airflow"),
        series("lab_up", 0, service="mysql"),
        series("lab_airflow_component_up", 1, component="metadatabase"),
        series("lab_airflow_component_up", 0, component="dag_processor"),
    ]
    reply = {"status": "success", "data": {"resultType": "vector", "result": found}}
    with Replies({"/api/v1/query": reply}) as server:
        state = ui["services"].prometheus(server.url)
    assert (state.good, state.text) == (False, "doesn't hear from grafana, mysql")
    assert state.others["Data API"].good
    assert not state.others["Grafana"].good
    assert state.others["Airflow"].text == "not healthy: dag processor"
    with Replies({"/api/v1/query": {"status": "error"}}) as server, pytest.raises(LabError, match="isn't a"):
        ui["services"].prometheus(server.url)


def test_airflow_says_which_component_is_ill(ui):
    health = {
        "metadatabase": {"status": "healthy"},
        "scheduler": {"status": "healthy", "latest_scheduler_heartbeat": "2026-11-30T12:00:00+00:00"},
        "triggerer": {"status": None, "latest_triggerer_heartbeat": None},
        "dag_processor": {"status": "unhealthy"},
    }
    replies = {"/api/v2/monitor/health": health, "/api/v2/version": {"version": "3.3.2"}}
    with Replies(replies) as server:
        state = ui["services"].airflow(server.url)
        assert (state.good, state.text, state.version) == (False, "not healthy: dag processor", "3.3.2")
        health["dag_processor"]["status"] = "healthy"
        assert ui["services"].airflow(server.url).text == "healthy: database, scheduler, dag processor"
    address = away()
    with pytest.raises(LabError, match=f"Airflow at {address} doesn't answer"):
        ui["services"].airflow(address)


def test_another_data_api_is_not_asked_for_a_batch_and_its_login_is_not_shown(ui):
    asked = "http://user:secret@example.org/api/{dataset}?group_number=3"
    assert ui["services"].bare(asked) == "http://example.org/api"
    with Replies({}) as server:
        state = ui["services"].data_api_state(server.url)
    assert state.good
    assert "another server" in state.text
