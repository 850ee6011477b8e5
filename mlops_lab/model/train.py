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
from mlops_lab.data.rows import rows
from mlops_lab.data.split import LEARNT, SPLITS
from mlops_lab.errors import ModelError
from mlops_lab.metrics import Metric, score
from mlops_lab.model import export
from mlops_lab.model.calibration import Calibration, calibrate
from mlops_lab.model.evaluate import evaluate
from mlops_lab.model.fit_contract import describe, fit_contract
from mlops_lab.model.interval import coverage, fit_interval, groups_of
from mlops_lab.model.search import Parts, fit, search
from mlops_lab.model.tuner import Journal, Known, tune
from mlops_lab.use_case import UseCase


@dataclass
class Trained:
    """A model that is ready to be registered.

    trials:  one for each point that was fitted on all training rows: its parameters, seconds, and the use case's
             metric on validation rows.
    holdout: encoded test rows, their ground truth and the graph's output.
    cpu_seconds: of all threads.
    """

    contract: Contract
    model: ModelProto
    candidate: str
    params: dict[str, Any]
    trials: list[dict[str, Any]]
    seconds: float
    cpu_seconds: float
    holdout: tuple[np.ndarray, np.ndarray, np.ndarray] = field(repr=False)

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
) -> Trained:
    """Fits the candidate: the parameters are chosen with training and validation rows, the model learns from both.

    frame:   rows of CleanData: features and target, typed, and `split` (train, validation or test).
    journal: of a tuned candidate: where the points of its search are kept; None: nowhere.
    Raises `ModelError` when there are too few rows, or when the graph doesn't equal the pipeline.
    """
    started, used = time.perf_counter(), time.process_time()
    metric = use_case.metric
    contract, matrices, truths = _encode(use_case, frame, seed)
    progress(f"{len(truths['train'])} training rows, {matrices['train'].shape[1]} features")

    find = partial(tune, candidate.tuning, journal or Known()) if candidate.tuning else search
    fitted, params, trials = find(metric, candidate, contract, matrices, truths, seed, progress)
    final = _fit_again(candidate, contract, params, matrices, truths, seed)
    learnt = sum(len(truths[split]) for split in LEARNT)
    progress(f"fitted again on {learnt:,} rows, with the validation rows")
    calibration = _calibration(contract, frame, fitted, final, matrices, truths)
    try:
        model, tested = _graph(contract, replace(final, calibration=calibration), matrices, truths, metric)
    except ModelError as error:
        if calibration is None:
            raise
        # Where many probabilities are nearly 0 or 1, the graph's float32 has too few digits left for their order.
        progress(f"its probabilities stay as they are: calibrated, {error}")
        calibration = None
        model, tested = _graph(contract, final, matrices, truths, metric)
    fitted = replace(fitted, calibration=calibration)
    outputs = {split: fitted.output(matrices[split]) for split in LEARNT} | {"test": tested}
    if contract.task != "regression":
        params = {"calibration": str(calibration or "none"), **params}
    threshold = None
    if contract.task == "binary":
        threshold = use_case.threshold.choose(truths["validation"], outputs["validation"][:, 1])
    if contract.task == "regression":
        contract = _with_interval(contract, candidate, frame, truths, outputs, use_case.interval)
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
        pd.DataFrame(frame[frame["split"] == "test"]),
        matrices["test"],
        truths["test"],
        outputs["test"],
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
    )


def _encode(use_case: UseCase, frame: pd.DataFrame, seed: int) -> tuple[Contract, Parts, Parts]:
    """(contract, encoded rows, ground truth)."""
    parts = {split: pd.DataFrame(frame[frame["split"] == split]) for split in SPLITS}
    for split in ("train", "validation"):
        if parts[split].empty:
            raise ModelError(f"{use_case.name}: there are no {split} rows yet; it takes more data")
    training = rows(parts["train"])
    contract = fit_contract(use_case, training)
    names = [f.name for f in use_case.features]
    matrices = {"train": contract.encode(training)}
    matrices |= {
        split: contract.encode(rows(pd.DataFrame(parts[split], columns=names))) for split in SPLITS[1:]
    }
    truths = {split: contract.encode_target(parts[split][use_case.target.name]) for split in SPLITS}
    if len(np.unique(truths["train"])) < 2:
        raise ModelError(
            f"{use_case.name}: all training rows have the same {use_case.target.name}; nothing to learn"
        )
    return describe(contract, matrices["train"], truths["train"], seed), matrices, truths


def _fit_again(
    candidate: Candidate,
    contract: Contract,
    params: dict[str, Any],
    matrices: Parts,
    truths: Parts,
    seed: int,
) -> export.Fitted:
    """The chosen point, fitted on training and validation rows. The contract, and so the encoding, stays the same."""
    x, y = (np.concatenate([parts[split] for split in LEARNT]) for parts in (matrices, truths))
    return fit(candidate, contract, params, x, y, seed)


def _calibration(
    contract: Contract,
    frame: pd.DataFrame,
    fitted: export.Fitted,
    final: export.Fitted,
    matrices: Parts,
    truths: Parts,
) -> Calibration | None:
    """The step that the first fit needs on validation rows; the final model gets the same one.

    None when only the final model knows a class, because the step would keep its probability at 0.
    """
    if fitted.class_weights is None or final.class_weights is None:
        return None
    if (fitted.class_weights.any(axis=0) != final.class_weights.any(axis=0)).any():
        return None
    groups = groups_of(frame[frame["split"] == "validation"])
    return calibrate(fitted.output(matrices["validation"]), truths["validation"], groups)


def _graph(
    contract: Contract, final: export.Fitted, matrices: Parts, truths: Parts, metric: Metric
) -> tuple[ModelProto, np.ndarray]:
    """The graph, and its output for the test rows; it is checked against the pipeline on validation and test rows."""
    model = final.graph(len(contract.features))
    matrix = np.concatenate([matrices["validation"], matrices["test"]])
    truth = np.concatenate([truths["validation"], truths["test"]])
    output = export.check(model, final, matrix, truth, metric)
    return model, output[len(matrices["validation"]) :]


def _with_interval(
    contract: Contract,
    candidate: Candidate,
    frame: pd.DataFrame,
    truths: Parts,
    outputs: Parts,
    level: float,
) -> Contract:
    """With intervals that are fitted on validation rows, and what they cover on test rows."""
    groups = groups_of(frame[frame["split"] == "validation"])
    interval = fit_interval(candidate.log_target, truths["validation"], outputs["validation"], groups, level)
    contract = contract.model_copy(update={"interval": interval})
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
