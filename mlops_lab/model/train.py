"""Training: fitted on the training rows, decided by a grid on validation, exported with its contract."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from onnx import ModelProto

from mlops_lab.candidates import Candidate
from mlops_lab.contract import Contract
from mlops_lab.data.rows import rows
from mlops_lab.errors import ContractError, ModelError
from mlops_lab.features import Boolean, Category, Date, Feature, Integer
from mlops_lab.metrics import Metric, best_threshold, score
from mlops_lab.model import drift, export
from mlops_lab.use_case import UseCase

SPLITS = ("train", "validation", "test")
BACKGROUND_ROWS = 50
ALIKE = (
    20  # rows (and one in a hundred) that an example's values are taken from: it must show nobody's own row
)


@dataclass
class Trained:
    """A model that is ready to be registered.

    metrics: split, then metric, of the graph. trials: one a point of the grid: its parameters, seconds, and the use
    case's metric on validation. held_out: encoded test rows, their target and the graph's output.
    """

    contract: Contract
    model: ModelProto
    candidate: str
    params: dict[str, Any]
    trials: list[dict[str, Any]]
    seconds: float
    held_out: tuple[np.ndarray, np.ndarray, np.ndarray] = field(repr=False)

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        return self.contract.metrics

    def save(self, folder: Path, contract: Contract | None = None) -> Path:
        """`model.onnx`, `contract.json` and MLflow's `MLmodel`, in a new folder. `contract`: the one with lineage."""
        import mlflow.onnx
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        features = len(self.contract.features)
        shape = (-1,) if self.contract.task == "regression" else (-1, len(self.contract.classes))
        mlflow.onnx.save_model(
            self.model,
            str(folder),
            signature=ModelSignature(
                inputs=Schema([TensorSpec(np.dtype("float32"), (-1, features), "x")]),
                outputs=Schema([TensorSpec(np.dtype("float32"), shape, "y")]),
            ),
            # Given, since to infer them takes MLflow ten seconds.
            pip_requirements=["mlflow", "onnx", "onnxruntime", "numpy"],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
        (contract or self.contract).save(folder)
        return folder

    def plot(self, folder: Path) -> list[Path]:
        """Pictures of the held-out rows and of what moved their predictions, as PNG files in the folder."""
        from mlops_lab.model.figures import draw

        return draw(self.contract, self.model, *self.held_out, folder)


def train(
    use_case: UseCase,
    candidate: Candidate,
    frame: pd.DataFrame,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Fits the candidate on the frame's training rows.

    frame: rows of CleanData: features and target, typed, and `split` (train, validation or test).
    Raises `ModelError` when there is too little to learn from, or when the graph isn't the pipeline.
    """
    started = time.perf_counter()
    parts = {split: frame[frame["split"] == split] for split in SPLITS}
    for split in ("train", "validation"):
        if parts[split].empty:
            raise ModelError(f"{use_case.name}: there are no {split} rows yet; it takes more data")
    training = rows(parts["train"])
    contract = fit_contract(use_case, training, seed)
    names = [f.name for f in use_case.features]
    matrices = {"train": contract.encode(training)}
    matrices |= {split: contract.encode(rows(parts[split][names])) for split in SPLITS[1:]}
    truths = {split: contract.encode_target(parts[split][use_case.target.name]) for split in SPLITS}
    if len(np.unique(truths["train"])) < 2:
        raise ModelError(
            f"{use_case.name}: all training rows have the same {use_case.target.name}; nothing to learn"
        )
    contract = _describe(contract, matrices["train"], truths["train"], seed)
    progress(f"{len(training)} training rows, {matrices['train'].shape[1]} features")

    fitted, params, trials = _search(use_case.metric, candidate, contract, matrices, truths, seed, progress)
    model = fitted.graph(len(contract.features))
    held = np.concatenate([matrices["validation"], matrices["test"]])
    truth = np.concatenate([truths["validation"], truths["test"]])
    output = export.check(model, fitted, held, truth, use_case.metric)
    outputs = {
        "train": export.run(model, matrices["train"]),
        "validation": output[: len(matrices["validation"])],
        "test": output[len(matrices["validation"]) :],
    }
    threshold = None
    if contract.task == "binary":
        threshold = best_threshold(truths["validation"], outputs["validation"][:, 1])
    contract = contract.model_copy(
        update={
            "threshold": threshold,
            "metrics": {
                split: score(contract.task, truths[split], outputs[split], threshold=threshold)
                for split in SPLITS
                if len(truths[split])
            },
            "baseline": _baseline(use_case.metric, contract, truths),
        }
    )
    seconds = time.perf_counter() - started
    chosen = use_case.metric.name
    size = model.ByteSize() / 1e6
    progress(f"{chosen} {contract.metrics['validation'][chosen]:.4f}, graph {size:.1f} MB, {seconds:.1f} s")
    return Trained(
        contract=contract,
        model=model,
        candidate=candidate.name,
        params={"candidate": candidate.name, "log_target": candidate.log_target, "seed": seed, **params},
        trials=trials,
        seconds=seconds,
        held_out=(matrices["test"], truths["test"], outputs["test"]),
    )


def fit_contract(use_case: UseCase, training: Sequence[Mapping[str, Any]], seed: int = 0) -> Contract:
    """The use case's contract with the codes of its categories and an example, both out of the training rows.

    training: typed rows, features and target. Raises `ModelError` when the example breaks the contract.
    """
    alike, enough = training, max(ALIKE, len(training) // 100)
    features = []
    for feature in use_case.features:
        values = [row[feature.name] for row in training]
        near = [row[feature.name] for row in alike]
        example = feature.example
        if example is None:
            example = (
                _typical(feature, near) if any(v is not None for v in near) else _typical(feature, values)
            )
        update: dict[str, Any] = {"example": example}
        if isinstance(feature, Category):
            update |= _fit_category(feature, values)
            # The next values shall go with this one: a city of this state, a zip code of this city.
            closer = [row for row, value in zip(alike, near, strict=True) if value == example]
            alike = closer if len(closer) >= enough else alike
        features.append(feature.model_copy(update=update))
    targets = [row[use_case.target.name] for row in training]
    target = use_case.target.model_copy(update={"example": _typical(use_case.target, targets)})
    contract = Contract(
        use_case=use_case.name,
        title=use_case.title,
        description=use_case.description,
        task=use_case.task,
        target=target,
        features=features,
        missing=list(use_case.missing),
        classes=use_case.classes,
        metric=use_case.metric.name,
        greater_is_better=use_case.metric.greater_is_better,
        retrain=use_case.retrain,
    )
    try:
        contract.read([contract.example])
    except ContractError as error:
        raise ModelError(f"{use_case.name}: the example breaks the declared features: {error}") from error
    return contract


def _fit_category(feature: Category, values: list[str | None]) -> dict[str, Any]:
    """Codes: the most frequent values first, equally frequent ones by name."""
    counts: Counter[str] = Counter()
    for value, count in Counter(values).items():
        if value is not None and (mapped := feature.mapped(value)):
            counts[mapped] += count
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    frequent = [value for value in ranked if counts[value] >= feature.min_count]
    fitted = {"vocabulary": frequent[: feature.max_categories]}
    if not feature.allow_unknown and not feature.allowed and not feature.mapping:
        fitted["allowed"] = ranked
    return fitted


def _typical(feature: Feature, values: list) -> Any:
    """The most frequent value, or the median, as a JSON type; None when every value is missing."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    if isinstance(feature, Category | Boolean):
        counts = Counter(present)
        return min(counts, key=lambda value: (-counts[value], str(value)))
    if isinstance(feature, Date):
        middle = int(np.median([value.toordinal() for value in present]))
        return str(date(1970, 1, 1) + timedelta(days=middle - date(1970, 1, 1).toordinal()))
    middle = float(np.median(np.array(present, dtype=float)))
    return round(middle) if isinstance(feature, Integer) else float(f"{middle:.6g}")


def _describe(contract: Contract, matrix: np.ndarray, truth: np.ndarray, seed: int) -> Contract:
    """Adds what drift and explanations compare with."""
    categories = set(contract.categories())
    sample = np.random.default_rng(seed).choice(len(matrix), min(BACKGROUND_ROWS, len(matrix)), replace=False)
    return contract.model_copy(
        update={
            "reference": {
                f.name: drift.reference(matrix[:, place], place in categories)
                for place, f in enumerate(contract.features)
            },
            "target_reference": {"mean": float(truth.mean()), "std": float(truth.std())},
            "background": [
                [None if np.isnan(v) else float(v) for v in row] for row in matrix[np.sort(sample)]
            ],
        }
    )


def _search(metric: Metric, candidate: Candidate, contract: Contract, matrices, truths, seed, progress):
    """(fitted, parameters, trials) of the best point of the grid."""
    best, trials = None, []
    for number, params in enumerate(candidate.grid, 1):
        started = time.perf_counter()
        fitted = _fit(candidate, contract, dict(params), matrices["train"], truths["train"], seed)
        value = metric(truths["validation"], fitted.output(matrices["validation"]))
        seconds = time.perf_counter() - started
        trials.append({**params, metric.name: value, "seconds": seconds})
        told = ", ".join(f"{key} {v}" for key, v in params.items()) or "defaults"
        progress(
            f"{number}/{len(candidate.grid)} {told}: {metric.name} {value:.4f} on validation, {seconds:.1f} s"
        )
        rank = metric.sign * value
        if best is None or rank > best[0]:
            best = (rank, fitted, dict(params))
    return best[1], best[2], trials


def _fit(candidate: Candidate, contract: Contract, params: dict, x: np.ndarray, y: np.ndarray, seed: int):
    pipeline = candidate.build(contract, params, seed)
    if contract.task == "regression":
        target = contract.target
        bounds = (
            -np.inf if target.minimum is None else target.minimum,
            np.inf if target.maximum is None else target.maximum,
        )
        if candidate.log_target:
            if y.min() < 0:
                raise ModelError(f"{candidate.name}: log_target needs a {target.name} that is never negative")
            y = np.log1p(y)
            # Beyond what was seen, exp turns an error into an absurdity.
            bounds = (float(y.min()), float(y.max()))
        return export.Fitted(pipeline.fit(x, y), bounds, candidate.log_target)
    classes = len(contract.classes)
    prior = np.bincount(y.astype(int), minlength=classes) / len(y)
    weights = (prior > 0).astype(float)
    if candidate.sampler:
        x, y = candidate.sampler(seed).fit_resample(x, y.astype(int))
        sampled = np.bincount(y.astype(int), minlength=classes) / len(y)
        weights = np.divide(prior, sampled, out=np.zeros(classes), where=sampled > 0)
    pipeline.fit(x, y.astype(int))
    seen = np.asarray(pipeline.classes_, dtype=int)  # a rare class may be absent from the first batches
    spread = np.zeros((len(seen), classes))
    spread[np.arange(len(seen)), seen] = weights[seen]
    return export.Fitted(pipeline, spread=spread)


def _baseline(metric: Metric, contract: Contract, truths) -> dict[str, dict[str, float]]:
    """Scores of the best constant: the training rows' mean, median or geometric mean, or their class frequencies."""
    y = truths["train"]
    if contract.task == "regression":
        constants = [np.mean(y), np.median(y), np.expm1(np.mean(np.log1p(np.maximum(y, 0))))]
        ranks = [metric.sign * metric(y, np.full(len(y), c)) for c in constants]
        constant = constants[int(np.argmax(ranks))]
        naive = {split: np.full(len(truths[split]), constant) for split in SPLITS}
    else:
        prior = np.bincount(y.astype(int), minlength=len(contract.classes)) / len(y)
        naive = {split: np.tile(prior, (len(truths[split]), 1)) for split in SPLITS}
    return {
        split: score(contract.task, truths[split], naive[split]) for split in SPLITS[1:] if len(truths[split])
    }
