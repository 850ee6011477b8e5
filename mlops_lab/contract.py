"""The contract that a model carries: features, target, encoding, scores, bounds and lineage.

Pure pydantic and numpy. A use case declares features; training completes them into a `Contract`
(vocabularies, examples, reference histograms, metrics, lineage) that is stored beside the ONNX graph.
`Contract.encode` is the only way from rows to the model's input.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mlops_lab.errors import ContractError
from mlops_lab.evaluation import Evaluation
from mlops_lab.features import Category, Feature, FieldError
from mlops_lab.history import Lineage
from mlops_lab.metrics import Task

# The name of a use case becomes a table, a registered model, a DAG, a path and a label in metrics.
USE_CASE_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
CONTRACT_FILE = "contract.json"
MODEL_FILE = "model.onnx"
# The largest graph that is registered and loaded. The service's container has 512 MB, and loading a graph takes up to
# three times its size while the champion before is still served.
MAX_GRAPH_BYTES = 64 * 2**20
# Nobody reads more problems, and a request of wrong rows must not cost more than one of right rows.
MAX_PROBLEMS = 100
# From this many rows on, each distinct value of a column is encoded only once, which is much faster.
ENCODE_CACHE_MIN_ROWS = 100


class Reference(BaseModel):
    """How one encoded feature was distributed in the training rows.

    edges:  inner bin edges, ascending, k numbers; bin i holds edges[i-1] < x <= edges[i].
    shares: k + 2 fractions of the rows that sum to 1: the k + 1 bins, then missing (NaN).
    """

    edges: list[float]
    shares: list[float]


# The share of new rows whose true value a prediction interval has inside, when the use case doesn't set another.
LEVEL = 0.9


class Interval(BaseModel):
    """How far the true value may be from a prediction, measured on validation rows (`mlops_lab.model.interval`).

    level:  the share of new rows whose true value is inside the interval.
    log:    the radius is a difference of log(1 + target), so the interval is a factor; else it is in the target's unit.
    edges:  inner edges of the bands of the prediction, ascending, k numbers in the target's unit; band i holds
            edges[i-1] < prediction <= edges[i].
    radii:  k + 1 numbers, one for each band: the interval is the prediction minus and plus the radius.
    rows, groups: of the validation rows that it was fitted on.
    coverage, width: on the test rows, the share inside and the median width in the target's unit; None without rows.
    """

    level: float
    log: bool
    edges: list[float]
    radii: list[float]
    rows: int
    groups: int
    coverage: float | None = None
    width: float | None = None


class RetrainPolicy(BaseModel):
    """When a batch leads to a training: any one of the bounds is enough.

    new_share:      fraction of the batch's distinct group keys that are new to the champion.
    min_new_rows:   clean rows since the champion's training data.
    psi:            population stability index of any feature against the champion's training rows.
    target_std:     relative change of the target's standard deviation.
    new_category:   fraction of the new rows that have one value of a category without a code in the champion.
    batch_error:    relative increase of the champion's error on the batch's new rows over the greatest error of its
                    95 % test interval. For a metric where greater is better, the error is 1 - metric.
    live_error:     relative increase of the champion's error on labelled predictions over its test error.
    min_drift_rows: rows below which drift, new categories and the error on new rows aren't computed, because chance
                    alone would pass the bound.
    min_holdout:    test rows below which nothing is promoted, except a first champion.

    A champion carries its policy in its contract. `psi`, `live_error` and `min_drift_rows` are always read from there,
    so that the decision, the monitor, the service's gauges and the alert use one number. A change of the three in a use
    case's file takes effect with its next champion; a change of the others takes effect at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    new_share: float = 0.6
    min_new_rows: int = 10_000
    psi: float = 0.25
    target_std: float = 0.25
    new_category: float = 0.05
    batch_error: float = 0.05
    live_error: float = 0.25
    min_drift_rows: int = 500
    min_holdout: int = 200


class PromotionPolicy(BaseModel):
    """When a challenger replaces the champion, both scored on the same test rows (`mlops_lab/model/judge.py`).

    Gains and losses are relative: a share of the champion's error (`Metric.gain`). Sureness is the share of the
    bootstrap resamples, by groups, in which the challenger is better.

    margin:     the smallest gain that is worth a replacement: 0.01 is 1 % less error.
    sure:       sureness that a gain beyond the margin needs as well, because a small hold-out often shows such a gain
                by chance. 0.975: the 95 % interval of the gain lies above zero.
    very_sure:  from this sureness on, a gain within the margin is enough. 0.995: the 99 % interval lies above zero.
                None: it never is.
    between:    what happens when one of `margin` and `sure` is reached and the other isn't: the champion is kept, the
                challenger is promoted, or a person is asked (`mlops_lab/steps/approve.py`).
    ask_hours:  how long a person may take for it; then `ask_default` is what happens.
    bounds:     second metric → largest loss by it that is accepted, for the challenger as a whole.
    slices:     feature, a category or a boolean → largest loss by the use case's metric that is accepted on the rows
                of any one of its values. A slice counts only from `slice_rows` rows on, and when the challenger is
                worse there as surely as `sure`: of many small slices, some always look worse by chance.

    The use case's file decides; the contract keeps what its model was trained under.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    margin: float = Field(0.01, ge=0)
    sure: float = Field(0.975, ge=0, le=1)
    very_sure: float | None = Field(0.995, ge=0, le=1)
    between: Literal["keep", "promote", "ask"] = "keep"
    ask_hours: float = Field(24, gt=0, le=8760)
    ask_default: Literal["keep", "promote"] = "keep"
    bounds: dict[str, Annotated[float, Field(ge=0)]] = {}
    slices: dict[str, Annotated[float, Field(ge=0)]] = {}
    slice_rows: int = Field(100, ge=1)


class Contract(BaseModel):
    """Everything that a caller of the model needs, apart from its ONNX graph.

    The graph's only input is `x`, float32 (n, len(features)), made by `encode`. Its only output is `y`:
    float32 (n,) predictions in the target's unit, or (n, len(classes)) probabilities.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    use_case: str
    title: str
    description: str = ""
    task: Task
    target: Feature
    features: list[Feature]
    missing: list[str] = Field(
        default_factory=list, description="strings read as null, in addition to the empty string"
    )
    classes: list[str] = Field(
        default_factory=list, description="classifiers: the class of each probability column"
    )
    threshold: float | None = Field(
        None, description="binary: the smallest probability that is predicted as true"
    )
    interval: Interval | None = Field(None, description="regression: how far the true value may be away")
    metric: str
    greater_is_better: bool
    metrics: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="scores by split, then metric; on test rows those of the model, on the others those of its first "
        "fit, which learnt from the training rows alone",
    )
    baseline: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="scores of the naive baseline, likewise"
    )
    evaluation: Evaluation | None = Field(None, description="the test rows in detail")
    retrain: RetrainPolicy = Field(RetrainPolicy(), description="the bounds of drift and of training")
    promotion: PromotionPolicy = Field(PromotionPolicy(), description="when a challenger replaces a champion")
    reference: dict[str, Reference] = {}
    target_reference: dict[str, float] = Field(
        default_factory=dict,
        description="of the (encoded) training target: mean, std, 10th and 90th percentile",
    )
    background: list[list[float | None]] = Field(
        default_factory=list, description="encoded training rows that explanations compare with"
    )
    lineage: Lineage | None = None

    @property
    def example(self) -> dict[str, Any]:
        """One row that `POST /predict` accepts, as JSON types."""
        return {f.name: f.example for f in self.features}

    @property
    def test_score(self) -> float | None:
        """The use case's metric on the test rows; None when there are none, or when it isn't defined on them."""
        return self.metrics.get("test", {}).get(self.metric)

    @property
    def baseline_score(self) -> float | None:
        """The same metric of the naive baseline on the test rows, or None."""
        return self.baseline.get("test", {}).get(self.metric)

    def read(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Raw rows (JSON types) as typed and checked rows, with the features in order.

        Raises `ContractError` with the problems of the rows, at most `MAX_PROBLEMS`: a missing or unknown field, a
        wrong type, a value out of range, or a value that isn't allowed.
        """
        typed: list[dict[str, Any]] = []
        problems: list[dict[str, Any]] = []
        for number, row in enumerate(rows):
            clean = {}
            for feature in self.features:
                name = feature.name
                try:
                    if name not in row:
                        raise FieldError("missing", "is missing (send null when it is unknown)")
                    clean[name] = feature.read(row[name], self._missing)
                except FieldError as error:
                    problems.append({"row": number, "field": name, "rule": error.rule, "message": str(error)})
            if len(row) > len(self._names) or not self._names.issuperset(row):
                message = "is not a field of this model"
                problems += (
                    {"row": number, "field": str(name)[:60], "rule": "unknown", "message": message}
                    for name in islice((n for n in row if n not in self._names), MAX_PROBLEMS + 1)
                )
            typed.append(clean)
            if len(problems) > MAX_PROBLEMS:
                raise ContractError(problems[:MAX_PROBLEMS], more=True)
        if problems:
            raise ContractError(problems)
        return typed

    def read_valid(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows that keep the contract, as `read` returns them; the others are left out."""
        typed: list[dict[str, Any]] = []
        for row in rows:
            try:
                typed += self.read([row])
            except ContractError:
                continue
        return typed

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """Typed rows (as `read` returns them, or rows of CleanData) as the model's input, float32 (n, features)."""
        encoders = [(f.name, f.encode) for f in self.features]
        rows = list(rows)
        if len(rows) < ENCODE_CACHE_MIN_ROWS:
            matrix = [[encode(row[name]) for name, encode in encoders] for row in rows]
            return np.array(matrix, dtype=np.float32).reshape(len(rows), len(encoders))
        encoded = np.empty((len(rows), len(encoders)), dtype=np.float32)
        for index, (name, encode) in enumerate(encoders):
            values = [row[name] for row in rows]
            known = {value: encode(value) for value in set(values)}
            encoded[:, index] = [known[value] for value in values]
        return encoded

    def encode_target(self, values: Iterable[Any]) -> np.ndarray:
        """Ground truth as float64 (n,): numbers, 0 and 1, or indices of the classes."""
        if self.task == "multiclass":
            index = {name: float(number) for number, name in enumerate(self.classes)}
            return np.array([index[value] for value in values], dtype=np.float64)
        return np.array([float(value) for value in values], dtype=np.float64)

    def json_schema(self) -> dict[str, Any]:
        """One row of `POST /predict` as a JSON schema."""
        return {
            "title": self.title,
            "description": self._about_texts(),
            "type": "object",
            "additionalProperties": False,
            "required": [f.name for f in self.features],
            "properties": {f.name: f.json_schema() for f in self.features},
            "examples": [self.example],
        }

    def categories(self) -> list[int]:
        """Indices of the features that are categories."""
        return [index for index, f in enumerate(self.features) if isinstance(f, Category)]

    def numbers(self) -> list[int]:
        """Indices of the features that are not categories."""
        return [index for index, f in enumerate(self.features) if not isinstance(f, Category)]

    def save(self, folder: Path) -> Path:
        path = folder / CONTRACT_FILE
        path.write_text(self.model_dump_json(indent=1), encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: Path) -> "Contract":
        return cls.model_validate_json((folder / CONTRACT_FILE).read_text(encoding="utf-8"))

    def _about_texts(self) -> str:
        texts = ", ".join(f'"{text}"' for text in ("", *self.missing))
        return (
            "Values are read as the pipeline reads them, so a text may stand for a value: a decimal number, true, yes, "
            "1, false, no or 0 for a boolean, and a moment (`2024-01-31T10:00:00`) for its day. A category takes a "
            f"number, which is read as its text. The texts {texts} count as null."
        )

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.features)

    @cached_property
    def _missing(self) -> frozenset[str]:
        return frozenset(self.missing)
