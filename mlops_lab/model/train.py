"""Training: fitted on training rows, decided on validation rows, fitted again on both, exported with its contract.

What is measured on validation rows (scores, calibration, threshold, interval) comes from the first fit, which didn't
learn from them; what is measured on test rows comes from the graph that is registered. docs/decisions.md says why.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from onnx import ModelProto

from mlops_lab.candidates import Candidate
from mlops_lab.contract import Contract
from mlops_lab.data.split import LEARNT, SPLITS
from mlops_lab.errors import ModelError
from mlops_lab.metrics import Metric, score
from mlops_lab.model import export
from mlops_lab.model.calibration import Calibration, calibrate
from mlops_lab.model.dask_cluster import Cluster
from mlops_lab.model.dask_rows import DaskRows
from mlops_lab.model.dask_training import FrameSource, spread_rows
from mlops_lab.model.encoded_rows import EncodedRows, Parts, encode_rows
from mlops_lab.model.evaluate import evaluate
from mlops_lab.model.interval import coverage, fit_interval
from mlops_lab.model.search import fit, search
from mlops_lab.model.tuner import Journal, Known, tune
from mlops_lab.use_case import UseCase


@dataclass
class Trained:
    """A model that is ready to be registered.

    trials:  one for each point that was fitted on all training rows: its parameters, seconds, and the use case's
             metric on validation rows.
    holdout: encoded test rows, their ground truth and the graph's output.
    cpu_seconds: of all threads of this process.
    engine:  what decides, beside the libraries, which model comes out.
    """

    contract: Contract
    model: ModelProto
    candidate: str
    params: dict[str, Any]
    trials: list[dict[str, Any]]
    seconds: float
    cpu_seconds: float
    holdout: tuple[np.ndarray, np.ndarray, np.ndarray] = field(repr=False)
    engine: dict[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The scores by split, then metric, as in the contract."""
        return self.contract.metrics

    def plot(self, folder: Path) -> list[Path]:
        """Writes plots of the test rows and of their SHAP values, as PNG files, into the folder."""
        from mlops_lab.model.figures import draw

        return draw(self.contract, self.model, *self.holdout, folder)


def train(
    use_case: UseCase,
    candidate: Candidate,
    frame: pd.DataFrame,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
    journal: Journal | None = None,
    cluster: Cluster | None = None,
) -> Trained:
    """`learn` from rows of CleanData. Raises `ModelError` as it does and as `encode_rows` does.

    frame:   as `encode_rows` takes it.
    cluster: where a candidate on Dask learns; None: in processes on this machine.
    """
    if candidate.on_dask:
        source = FrameSource(frame)
        with spread_rows(use_case, source, cluster or Cluster(), progress, seed) as spread:
            return learn(use_case, candidate, spread, progress=progress, journal=journal)
    rows = encode_rows(use_case, frame, seed)
    return learn(use_case, candidate, rows, progress=progress, journal=journal)


def learn(
    use_case: UseCase,
    candidate: Candidate,
    rows: EncodedRows,
    *,
    progress: Callable[[str], None] = lambda text: None,
    journal: Journal | None = None,
) -> Trained:
    """Fits the candidate: the parameters are chosen with training and validation rows, the model learns from both.

    journal: of a tuned candidate: where the points of its search are kept; None: nowhere.
    Raises `ModelError` when there are too few rows, or when the graph doesn't equal the pipeline.
    """
    started, used = time.perf_counter(), time.process_time()
    metric, contract, seed = use_case.metric, rows.contract, rows.seed
    matrices, truths = rows.parts(rows.x), rows.parts(rows.y)
    progress(f"{rows.sizes['train']} training rows, {rows.x.shape[1]} features")

    find = partial(tune, candidate.tuning, journal or Known()) if candidate.tuning else search
    fitted, params, trials = find(metric, candidate, contract, matrices, truths, seed, progress)
    # The contract, and so the encoding, stays the same.
    final = fit(candidate, contract, params, *rows.learnt, seed)
    progress(f"fitted again on {len(rows.learnt[1]):,} rows, with the validation rows")
    calibration = _calibration(rows, fitted, final)
    try:
        model, tested = _graph(rows, replace(final, calibration=calibration), metric)
    except ModelError as error:
        if calibration is None:
            raise
        # Where many probabilities are nearly 0 or 1, the graph's float32 has too few digits left for their order.
        progress(f"its probabilities stay as they are: calibrated, {error}")
        calibration = None
        model, tested = _graph(rows, final, metric)
    fitted = replace(fitted, calibration=calibration)
    outputs = {split: _output(fitted, matrices[split]) for split in LEARNT} | {"test": tested}
    if contract.task != "regression":
        params = {"calibration": str(calibration or "none"), **params}
    threshold = None
    if contract.task == "binary":
        threshold = use_case.threshold.choose(truths["validation"], outputs["validation"][:, 1])
    if contract.task == "regression":
        contract = _with_interval(rows, candidate, outputs, use_case.interval)
    contract = contract.model_copy(
        update={
            "threshold": threshold,
            "metrics": {
                split: _scores(contract, truths[split], outputs[split], threshold)
                for split in SPLITS
                if len(truths[split])
            },
            "baseline": _baseline(metric, contract, truths),
        }
    )
    found = evaluate(
        contract,
        matrices["test"],
        truths["test"],
        outputs["test"],
        rows.groups["test"],
        rows.slices,
        log=candidate.log_target,
        calibration=params.get("calibration"),
    )
    contract = contract.model_copy(update={"evaluation": found})
    if threshold is not None:
        params = {"threshold": str(use_case.threshold), **params}
    seconds = time.perf_counter() - started
    size = model.ByteSize() / 1e6
    found = contract.metrics["validation"][metric.name]
    progress(f"{metric.name} {found:.4f}, graph {size:.1f} MB, {seconds:.1f} s")
    return Trained(
        contract=contract,
        model=model,
        candidate=candidate.name,
        params={"candidate": candidate.name, "log_target": candidate.log_target, "seed": seed, **params},
        trials=trials,
        seconds=seconds,
        cpu_seconds=time.process_time() - used,
        holdout=(matrices["test"], truths["test"], outputs["test"]),
        engine=rows.engine,
    )


def _output(fitted: export.Fitted, matrix: np.ndarray | DaskRows) -> np.ndarray:
    return matrix.output(fitted) if isinstance(matrix, DaskRows) else fitted.output(matrix)


def _calibration(rows: EncodedRows, fitted: export.Fitted, final: export.Fitted) -> Calibration | None:
    """The step that the first fit needs on validation rows; the final model gets the same one.

    None when only the final model knows a class, because the step would keep its probability at 0.
    """
    if fitted.class_weights is None or final.class_weights is None:
        return None
    if (fitted.class_weights.any(axis=0) != final.class_weights.any(axis=0)).any():
        return None
    x, y = (rows.parts(whole)["validation"] for whole in (rows.x, rows.y))
    return calibrate(fitted.output(x), y, rows.groups["validation"])


def _graph(rows: EncodedRows, final: export.Fitted, metric: Metric) -> tuple[ModelProto, np.ndarray]:
    """The graph, and its output for the test rows; it is checked against the pipeline on validation and test rows."""
    model = final.graph(len(rows.contract.features))
    output = export.check(model, final, *rows.unseen, metric)
    return model, output[rows.sizes["validation"] :]


def _with_interval(rows: EncodedRows, candidate: Candidate, outputs: Parts, level: float) -> Contract:
    """The contract with intervals that are fitted on validation rows, and what they cover on test rows."""
    truths, groups = rows.parts(rows.y), rows.groups["validation"]
    interval = fit_interval(candidate.log_target, truths["validation"], outputs["validation"], groups, level)
    contract = rows.contract.model_copy(update={"interval": interval})
    found = coverage(contract, truths["test"], outputs["test"])
    if interval is None or not found:
        return contract
    measured = {"coverage": found["interval_coverage"], "width": found["interval_width"]}
    return contract.model_copy(update={"interval": interval.model_copy(update=measured)})


def _scores(
    contract: Contract, truth: np.ndarray, output: np.ndarray, threshold: float | None
) -> dict[str, float]:
    """The metrics that are defined on these rows; JSON has neither NaN nor infinity.

    Not defined are, for example, an AUC of one class, and R² of one row.
    """
    found = score(contract.task, truth, output, threshold=threshold)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _baseline(metric: Metric, contract: Contract, truths: Parts) -> dict[str, dict[str, float]]:
    """Scores of the best constant: the training rows' mean, median or geometric mean, or their class frequencies."""
    y = truths["train"]
    if contract.task == "regression":
        constants = [np.mean(y), np.median(y), np.expm1(np.mean(np.log1p(np.maximum(y, 0))))]
        ranks = [metric.sign * metric(y, np.full(len(y), constant)) for constant in constants]
        best = constants[int(np.argmax(ranks))]
        naive = {split: np.full(len(truths[split]), best) for split in SPLITS}
    else:
        prior = np.bincount(y.astype(int), minlength=len(contract.classes)) / len(y)
        naive = {split: np.tile(prior, (len(truths[split]), 1)) for split in SPLITS}
    return {
        split: _scores(contract, truths[split], naive[split], None)
        for split in SPLITS[1:]
        if len(truths[split])
    }
