"""A client of Airflow's public REST API, with the calls that the demo and the tests need."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from mlops_lab.errors import LabError, first_line

# Seconds in which Airflow may fail to answer. SQLite's file can be locked for half a minute on a busy machine.
PATIENCE = 90.0
# How a run or a task has ended.
FINAL = {"success", "failed"}


class AirflowError(LabError):
    """Airflow doesn't answer, refuses a request, or has no such DAG. status: its answer's, where it answered."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Question:
    """A required action that nobody has answered: what is asked, in which run."""

    run: str
    subject: str


class AirflowClient:
    """One Airflow, with one login.

    check:    called while Airflow doesn't answer; raises when waiting is in vain.
    token:    of an earlier `sign_in`, in place of name and password. It is never replaced.
    patience: seconds in which Airflow may fail to answer, in place of `PATIENCE`.
    """

    def __init__(
        self,
        url: str,
        username: str = "",
        password: str = "",
        check: Callable[[], None] = lambda: None,
        *,
        token: str | None = None,
        patience: float | None = None,
    ):
        self._login = None if token else {"username": username, "password": password}
        self._http = httpx.Client(base_url=url, timeout=30 if patience is None else max(patience, 1))
        self._check, self._patience = check, patience
        if token:
            self._http.headers["authorization"] = f"Bearer {token}"

    def sign_in(self) -> str:
        """A token for name and password. Raises `AirflowError` when Airflow refuses them."""
        self._ask("GET", "/api/v2/version")
        return self._http.headers["authorization"].removeprefix("Bearer ")

    def questions(self, dag: str) -> list[Question]:
        """What the DAG's runs ask a person now, the newest first."""
        query = {"response_received": False, "order_by": "-created_at", "limit": 50}
        found = self._ask("GET", f"/api/v2/dags/{dag}/dagRuns/~/hitlDetails", params=query).json()
        return [
            Question(entry["task_instance"]["dag_run_id"], entry["subject"])
            for entry in found["hitl_details"]
            if entry["task_instance"]["state"] not in FINAL
        ]

    def answer(self, dag: str, run: str, option: str, reason: str) -> None:
        """Answers the question of the DAG's task `ask`, in the name of the person who signed in."""
        content = {"chosen_options": [option], "params_input": {"reason": reason}}
        self._ask("PATCH", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/ask/-1/hitlDetails", json=content)

    def wait_for_dag(self, dag: str, timeout: float = 120) -> None:
        """Until the DAG processor has read the DAG. Raises `AirflowError` when it can't, or not in time."""
        deadline = time.monotonic() + timeout
        while self._ask("GET", f"/api/v2/dags/{dag}", allow=(404,)).status_code == 404:
            self._check()
            faults = self._ask("GET", "/api/v2/importErrors").json()["import_errors"]
            if faults or time.monotonic() > deadline:
                reason = f"not read in {timeout:g} s"
                if faults:
                    reason = faults[0]["stack_trace"].strip().splitlines()[-1]
                raise AirflowError(f"Airflow has no DAG {dag}: {reason}")
            time.sleep(0.5)

    def unpause(self, dag: str) -> None:
        self._ask("PATCH", f"/api/v2/dags/{dag}", json={"is_paused": False})

    def pause(self, dag: str) -> None:
        self._ask("PATCH", f"/api/v2/dags/{dag}", json={"is_paused": True})

    def active_dags(self) -> list[str]:
        """The ids of the DAGs that are not paused."""
        query = {"paused": False, "limit": 100}
        return [dag["dag_id"] for dag in self._ask("GET", "/api/v2/dags", params=query).json()["dags"]]

    def trigger(self, dag: str, **conf: Any) -> str:
        """Queues a run with these parameters; returns its id."""
        # With an id of its own, a request that is sent again queues no second run.
        run = f"manual__{uuid.uuid4().hex}"
        content = {"logical_date": None, "dag_run_id": run, "conf": conf}
        self._ask("POST", f"/api/v2/dags/{dag}/dagRuns", allow=(409,), json=content)
        return run

    def run(self, dag: str, run: str) -> dict[str, Any]:
        return self._ask("GET", f"/api/v2/dags/{dag}/dagRuns/{run}").json()

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The newest runs first."""
        query = {"order_by": "-run_after", "limit": 50}
        return self._ask("GET", f"/api/v2/dags/{dag}/dagRuns", params=query).json()["dag_runs"]

    def end(self, dag: str, run: str) -> None:
        """Marks a run that nothing works on as successful, with its tasks that haven't begun."""
        self._ask("PATCH", f"/api/v2/dags/{dag}/dagRuns/{run}", json={"state": "success"})

    def delete(self, dag: str, run: str) -> None:
        """Deletes a queued run or one that has ended."""
        self._ask("DELETE", f"/api/v2/dags/{dag}/dagRuns/{run}", allow=(404,))

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        return self._ask("GET", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances").json()["task_instances"]

    def skipped_at_land(self, dag: str, run: str) -> bool:
        """Whether the run found no new batch."""
        return any(task["task_id"] == "land" and task["state"] == "skipped" for task in self.tasks(dag, run))

    def fault(self, dag: str, run: str) -> str:
        """The last error line of the run's first failed task."""
        failed = next((task for task in self.tasks(dag, run) if task["state"] == "failed"), None)
        if failed is None:
            return "no task of it failed"
        name = failed["task_id"]
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{name}/logs/{failed['try_number'] or 1}"
        query = {"map_index": failed["map_index"], "full_content": True}
        log = self._ask("GET", path, params=query, allow=(404,))
        lines = log.json().get("content", []) if log.status_code == 200 else []
        for line in reversed(lines):
            if isinstance(line, dict) and (details := line.get("error_detail")):
                return f"{name}: {details[0]['exc_value']}"
        return f"{name}; see its log in Airflow"

    def _ask(self, method: str, path: str, allow: tuple[int, ...] = (), **content: Any) -> httpx.Response:
        """The reply. A request without a reply, or with a 5xx, is sent again for `PATIENCE` seconds."""
        deadline = time.monotonic() + (PATIENCE if self._patience is None else self._patience)
        while True:
            try:
                reply = self._send(method, path, **content)
                if reply.is_success or reply.status_code in allow:
                    return reply
                fault = f"answers {reply.status_code} to {method} {path}: {reply.text[:200]}"
                if reply.status_code < 500:
                    raise AirflowError(f"Airflow {fault}", reply.status_code)
            except httpx.TransportError as error:
                fault = f"doesn't answer: {first_line(error, with_class=True)}"
            self._check()
            if time.monotonic() > deadline:
                raise AirflowError(f"Airflow {fault}")
            time.sleep(1)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """One request. A token that is no longer valid is replaced once."""
        known = "authorization" in self._http.headers
        if not known:
            token = self._http.post("/auth/token", json=self._login)
            if token.status_code >= 500:
                return token
            if token.status_code != 201:
                raise AirflowError(f"Airflow refuses the login ({token.status_code})", token.status_code)
            self._http.headers["authorization"] = f"Bearer {token.json()['access_token']}"
        reply = self._http.request(method, path, **content)
        if reply.status_code == 401 and known and self._login:
            del self._http.headers["authorization"]
            return self._send(method, path, **content)
        return reply
