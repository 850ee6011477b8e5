"""Runs of MLflow that the pages keep: what has ended doesn't change, so it is read once and shared by all tabs."""

import json
from typing import Any

import ui_frame
from pydantic import ValidationError
from ui_tracking import Run

import streamlit as st
from mlops_lab.contract import CONTRACT_FILE, Contract
from mlops_lab.errors import LabError

# Of a candidate's artifacts.
PLOTS, MODEL = "plots", "model"
# Seconds until ended runs are read again, since one may be deleted, or get another parent after a kill.
KEPT = 600


class _StillOpenError(Exception):
    """Carries what isn't kept: Streamlit keeps no result of a call that raises."""

    def __init__(self, runs: list[Run]):
        super().__init__()
        self.runs = runs


def training(run_id: str) -> list[Run]:
    """The run of a candidate, then those of the other candidates of the same training.

    Raises `NotFoundError` when the run was deleted.
    """
    try:
        return _training(run_id)
    except _StillOpenError as open_:
        return open_.runs


@st.cache_resource(ttl=KEPT, max_entries=200, show_spinner=False)
def _training(run_id: str) -> list[Run]:
    run = ui_frame.tracking().run(run_id)
    others = ui_frame.tracking().children(run) if run.parent else []
    found = [run, *(other for other in others if other.id != run.id)]
    if any(one.status == "RUNNING" for one in found):
        raise _StillOpenError(found)
    return found


@st.cache_resource(max_entries=50, show_spinner=False)
def contract(run_id: str) -> Contract:
    """The contract of a candidate's model. Raises `LabError`."""
    try:
        return Contract.model_validate_json(ui_frame.tracking().artifact(run_id, f"{MODEL}/{CONTRACT_FILE}"))
    except ValidationError as error:
        raise LabError(f"the contract of run {run_id} can't be read") from error


@st.cache_resource(ttl=KEPT, max_entries=200, show_spinner=False)
def record(run_id: str, path: str) -> dict[str, Any]:
    """A record among a run's artifacts. Raises `NotFoundError`; `LabError` when it isn't a record."""
    try:
        found = json.loads(ui_frame.tracking().artifact(run_id, path))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise LabError(f"{path} of run {run_id} can't be read")
    return found


@st.cache_data(ttl=KEPT, max_entries=64, show_spinner=False)
def table(run_id: str, path: str) -> list[dict]:
    """A table among a run's artifacts: a list of records, or MLflow's form with columns and rows.

    Raises `NotFoundError`, and `ValueError` when it is neither.
    """
    found = json.loads(ui_frame.tracking().artifact(run_id, path))
    if isinstance(found, dict):
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    if not isinstance(found, list):
        raise ValueError("neither records nor columns")
    return found


@st.cache_data(max_entries=64, show_spinner=False)
def picture(run_id: str, path: str) -> bytes:
    return ui_frame.tracking().artifact(run_id, path)


@st.cache_data(ttl=KEPT, max_entries=200, show_spinner=False)
def pictures(run_id: str) -> list[str]:
    """The paths of a run's plots, the explanation first."""
    found = [path for path in ui_frame.tracking().artifacts(run_id, PLOTS) if path.endswith(".png")]
    return sorted(found, key=lambda path: (not path.endswith("shap_summary.png"), path))
