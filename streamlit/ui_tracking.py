"""A client of MLflow's REST API: runs and their artifacts. MLflow's own package is slow to import."""

import json
import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from mlops_lab.errors import LabError, without_number
from mlops_lab.model.runs import Run
from mlops_lab.model.tags import KIND, PARENT, TITLE, BatchTags, CandidateTags, RunTags

API = "/api/2.0/mlflow/"
# The experiment that MLflow makes itself.
DEFAULT_EXPERIMENT = "0"

# Seconds after which an experiment without a title is asked for a batch's run again.
ASKED = 60.0
# Runs that are read each time, and seconds until the older ones are read again.
NEWEST, OLDER_SECONDS = 25, 120.0


class TrackingAwayError(LabError):
    """MLflow doesn't answer, or refuses the login."""


class NotFoundError(LabError):
    """MLflow has no such model, run or artifact."""


class Tracking:
    """One MLflow server. Every method raises `TrackingAwayError` when it doesn't answer.

    login: user and password of MLflow's basic authentication, when it has one.
    """

    def __init__(self, url: str, login: tuple[str, str] | None = None, timeout: float = 10.0):
        self.url = url.rstrip("/")
        # Experiments without a title that have a batch's run; that stays so.
        self._untitled: set[str] = set()
        # Experiment → when it was asked for a batch's run.
        self._asked: dict[str, float] = {}
        # Experiment → its id, as the last list of use cases had them.
        self._ids: dict[str, str] = {}
        self._http = httpx.Client(base_url=self.url, auth=login, timeout=timeout)
        # (experiment's id, kind) → its runs, newest first, and when they were read.
        self._kept: dict[tuple[str, type[RunTags]], tuple[list[Run], float]] = {}

    def health(self) -> bool:
        return self._get("/health").is_success

    def version(self) -> str:
        """MLflow's own; empty where another program answers."""
        text = reply.text.strip() if (reply := self._get("/version")).is_success else ""
        return text if re.fullmatch(r"[\w.+-]{1,30}", text) else ""

    def use_cases(self) -> dict[str, str]:
        """Use cases that have a run → their titles; empty where MLflow has none.

        An experiment with a title is a use case's. One of an earlier release has none; it is asked for a batch's run
        until it has one, once a minute.
        """
        experiments = {
            e["experiment_id"]: (e["name"], _pairs(e.get("tags")).get(TITLE, ""))
            for e in self._pages("experiments/search", "experiments", "POST", max_results=1000)
            if e["experiment_id"] != DEFAULT_EXPERIMENT
        }
        self._ids = {name: id_ for id_, (name, _) in experiments.items()}
        now = time.monotonic()
        asked = [
            id_
            for id_, (_, title) in experiments.items()
            if not title and id_ not in self._untitled and now - self._asked.get(id_, -ASKED) >= ASKED
        ]
        if asked:
            self._asked |= dict.fromkeys(asked, now)
            query = {"experiment_ids": asked, "filter": _of_kind(BatchTags), "max_results": 1000}
            self._untitled |= {
                run["info"]["experiment_id"] for run in self._pages("runs/search", "runs", **query)
            }
        return {name: title for id_, (name, title) in experiments.items() if title or id_ in self._untitled}

    def newest_trained(self) -> str | None:
        """The use case of the newest candidate, of those that `use_cases` saw; None without any."""
        experiments = {id_: name for name, id_ in self._ids.items()}
        if not experiments:
            return None
        query = {
            "experiment_ids": list(experiments),
            "filter": _of_kind(CandidateTags),
            "order_by": ["attributes.start_time DESC"],
            "max_results": 1,
        }
        page = self._json("POST", "runs/search", json=query)
        return next((experiments[run["info"]["experiment_id"]] for run in page.get("runs", [])), None)

    def newest_runs(self, use_case: str, most: int) -> list[Run]:
        """The use case's newest runs of any kind, the newest first; none when it has no experiment."""
        if (experiment := self._experiment(use_case)) is None:
            return []
        query = {
            "experiment_ids": [experiment],
            "max_results": most,
            "order_by": ["attributes.start_time DESC"],
        }
        return [_run(run) for run in self._json("POST", "runs/search", json=query).get("runs", [])]

    def runs(self, use_case: str, kind: type[RunTags]) -> list[Run]:
        """The use case's runs with tags of one kind, newest first; none when it has no experiment.

        The newest are read each time. The older ones hardly change any more, so they are kept for `OLDER_SECONDS`.
        """
        if (experiment := self._experiment(use_case)) is None:
            return []
        query = {
            "experiment_ids": [experiment],
            "filter": _of_kind(kind),
            "order_by": ["attributes.start_time DESC"],
        }
        known, read_at = self._kept.get((experiment, kind), ([], -math.inf))
        if time.monotonic() - read_at < OLDER_SECONDS:
            page = self._json("POST", "runs/search", json=query | {"max_results": NEWEST})
            newest = [_run(run) for run in page.get("runs", [])]
            places = {run.id: place for place, run in enumerate(known)}
            if newest and (last := places.get(newest[-1].id)) is not None:
                return [*newest, *known[last + 1 :]]
        found = [_run(run) for run in self._pages("runs/search", "runs", **query, max_results=1000)]
        self._kept[experiment, kind] = found, time.monotonic()
        return found

    def _experiment(self, use_case: str) -> str | None:
        if use_case in self._ids:
            return self._ids[use_case]
        try:
            found = self._json("GET", "experiments/get-by-name", params={"experiment_name": use_case})
        except NotFoundError:
            return None
        return found["experiment"]["experiment_id"]

    def run(self, run_id: str) -> Run:
        """One run. Raises `NotFoundError` when it was deleted."""
        found = self._json("GET", "runs/get", params={"run_id": run_id})["run"]
        if found["info"].get("lifecycle_stage") == "deleted":
            raise NotFoundError(f"run {run_id} was deleted")
        return _run(found)

    def children(self, run: Run) -> list[Run]:
        """The runs that belong to the same run as this candidate, newest first, itself included."""
        query = {
            "experiment_ids": [run.experiment_id],
            "filter": f"{_of_kind(CandidateTags)} and tags.`{PARENT}` = '{run.parent}'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": 1000,
        }
        return [_run(found) for found in self._pages("runs/search", "runs", **query)]

    def artifacts(self, run_id: str, folder: str = "") -> list[str]:
        """Paths of the files in one folder of a run's artifacts; none when it doesn't exist."""
        listed = self._json("GET", "artifacts/list", params={"run_id": run_id, "path": folder})
        return [entry["path"] for entry in listed.get("files", []) if not entry.get("is_dir")]

    def artifact(self, run_id: str, path: str) -> bytes:
        """One file of a run. Raises `NotFoundError` only when the files can be listed and it isn't among them."""
        reply = self._get("/get-artifact", params={"run_uuid": run_id, "path": path})
        if reply.is_success:
            return reply.content
        # MLflow answers alike when its store of artifacts is away.
        if path in self.artifacts(run_id, path.rpartition("/")[0]):
            raise TrackingAwayError(
                f"MLflow at {self.url} answers {reply.status_code} to {path} of a run; check its store of artifacts"
            )
        raise NotFoundError(f"run {run_id} has no file {path}")

    def _pages(self, path: str, key: str, method: str = "POST", **query: Any) -> Iterator[dict]:
        while True:
            page = self._json(method, path, **({"json": query} if method == "POST" else {"params": query}))
            yield from page.get(key, [])
            if not (token := page.get("next_page_token")):
                return
            query["page_token"] = token

    def _json(self, method: str, path: str, **request: Any) -> dict:
        reply = self._send(method, API + path, **request)
        try:
            body = reply.json()
        except ValueError:
            body = None
        if reply.is_success and isinstance(body, dict):
            return body
        if isinstance(body, dict) and body.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            raise NotFoundError(body.get("message", path))
        if reply.status_code in (401, 403):
            raise TrackingAwayError(
                f"MLflow at {self.url} refuses this page ({reply.status_code}); check its login and its allowed hosts"
            )
        raise TrackingAwayError(f"MLflow at {self.url} answers {reply.status_code} to {path}")

    def _get(self, path: str, **request: Any) -> httpx.Response:
        return self._send("GET", path, **request)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.TimeoutException:
            raise TrackingAwayError(f"MLflow at {self.url} takes too long; try again") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TrackingAwayError(
                f"MLflow at {self.url} doesn't answer ({without_number(error)})"
            ) from None


def _of_kind(tags: type[RunTags]) -> str:
    return f"tags.`{KIND}` = '{tags.kind}'"


def _run(run: dict) -> Run:
    info, data = run["info"], run.get("data", {})
    return Run(
        id=info["run_id"],
        experiment_id=info["experiment_id"],
        name=info.get("run_name", ""),
        started=_time(info["start_time"]),
        status=info.get("status", ""),
        ended=_time(info["end_time"]) if info.get("end_time") else None,
        metrics={key: float(value) for key, value in _pairs(data.get("metrics")).items()},
        params=_pairs(data.get("params")),
        tags=_pairs(data.get("tags")),
        payloads=tuple(
            _payload(entry["dataset"]) for entry in run.get("inputs", {}).get("dataset_inputs", [])
        ),
    )


def _payload(dataset: dict) -> tuple[str, str]:
    """Name and address of a data set that a run used; the address is JSON that MLflow's client wrote."""
    try:
        return dataset.get("name", ""), str(json.loads(dataset.get("source", "")).get("url", ""))
    except (ValueError, AttributeError):
        return dataset.get("name", ""), ""


def _pairs(entries: list[dict] | None) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in entries or []}


def _time(milliseconds: int | str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
