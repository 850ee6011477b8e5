"""The models that compete for a use case. Each factory returns a `Candidate`, a recipe that training follows.

Every pipeline starts from the encoded matrix of `Contract.encode` (numbers with NaN where missing, categories as
codes). It holds only steps that convert to ONNX and give equal results there; training refuses any other.
Importing this module loads no learning library, because the scheduler reads the use cases every few seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlops_lab.contract import Contract
from mlops_lab.errors import ModelError, UseCaseError
from mlops_lab.metrics import Task
from mlops_lab.tuning import Space, Tuning

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Params = Mapping[str, Any]
CLASSIFICATION: tuple[Task, ...] = ("binary", "multiclass")


@dataclass(frozen=True)
class Candidate:
    """One recipe for a model.

    name:       unique within its use case; the MLflow run has it, too.
    build:      (contract, params, seed) → unfitted scikit-learn pipeline over the encoded matrix.
    grid:       the parameters to try; the best point by the use case's metric on validation rows is kept.
    log_target: regression: the pipeline learns log(1 + target); the graph inverts it.
    sampler:    seed → imbalanced-learn sampler, for the training rows only. The graph corrects the probabilities for
                the class frequencies of the training rows.
    tasks:      what it can learn.
    tuning:     how the search goes on after the grid; None: it ends with the grid.
    divisible:  whether it can learn from rows that lie on several machines, on none all of them.
    on_dask:    whether it does so, on the workers of a Dask cluster.
    """

    name: str
    build: "Callable[[Contract, Params, int], Pipeline]"
    grid: Sequence[Params] = ({},)
    log_target: bool = False
    sampler: Callable[[int], Any] | None = None
    tasks: tuple[Task, ...] = ("regression", "binary", "multiclass")
    tuning: Tuning | None = None
    divisible: bool = False
    on_dask: bool = False


def linear_regression(*, log_target: bool = False) -> Candidate:
    """Least squares on one-hot categories and on numbers after a power transform."""

    def build(contract: Contract, params: Params, seed: int) -> "Pipeline":
        from sklearn.linear_model import LinearRegression

        return _linear(contract, LinearRegression())

    return Candidate("linear_regression", build, log_target=log_target, tasks=("regression",))


def ridge(
    alphas: Sequence[float] = (0.1, 1.0, 10.0, 100.0, 1000.0), *, log_target: bool = False
) -> Candidate:
    """Like `linear_regression`, with an L2 penalty."""

    def build(contract: Contract, params: Params, seed: int) -> "Pipeline":
        from sklearn.linear_model import Ridge

        return _linear(contract, Ridge(alpha=params["alpha"]))

    return Candidate("ridge", build, [{"alpha": a} for a in alphas], log_target, tasks=("regression",))


def logistic_regression(C: Sequence[float] = (0.01, 0.1, 1.0)) -> Candidate:
    """Logistic regression on one-hot categories and on numbers after a power transform."""

    def build(contract: Contract, params: Params, seed: int) -> "Pipeline":
        return _linear(contract, _logistic(params["C"]))

    return Candidate("logistic_regression", build, [{"C": c} for c in C], tasks=CLASSIFICATION)


def select_k_best(k: int = 50, C: Sequence[float] = (1.0,)) -> Candidate:
    """Logistic regression on the `k` columns, after one-hot, that differ most between the classes (F test)."""

    def build(contract: Contract, params: Params, seed: int) -> "Pipeline":
        from sklearn.feature_selection import SelectKBest, VarianceThreshold

        # A category without training rows is a constant column, for which the F test divides by zero.
        return _linear(contract, _logistic(params["C"]), VarianceThreshold(), SelectKBest(k=params["k"]))

    return Candidate("select_k_best", build, [{"k": k, "C": c} for c in C], tasks=CLASSIFICATION)


def random_forest(*grid: Params, log_target: bool = False, encoding: str = "ordinal") -> Candidate:
    """Random forests; each point of the grid holds parameters of scikit-learn's class.

    encoding: "ordinal" uses the codes of categories as numbers; "target" replaces each code by its mean target
              (regression and binary), which suits categories with many values.

    Depth and leaves are bounded by default, so that the graph stays small (below about 20 MB) and loads fast.
    """
    return _forest("random_forest", "RandomForest", grid, log_target, encoding)


def extra_trees(*grid: Params, log_target: bool = False, encoding: str = "ordinal") -> Candidate:
    """Extremely randomised trees; otherwise like `random_forest`."""
    return _forest("extra_trees", "ExtraTrees", grid, log_target, encoding)


def gradient_boosting(*grid: Params, log_target: bool = False, encoding: str = "ordinal") -> Candidate:
    """LightGBM; a point of the grid holds parameters of `LGBMRegressor` or `LGBMClassifier`.

    encoding: as in `random_forest`.
    """

    def build(contract: Contract, params: Params, seed: int) -> "Pipeline":
        import lightgbm

        kind = lightgbm.LGBMRegressor if contract.task == "regression" else lightgbm.LGBMClassifier
        values: dict[str, Any] = {
            "n_estimators": 400,
            "learning_rate": 0.04,
            "colsample_bytree": 0.7,
            **params,
        }
        # More threads than idle cores make LightGBM several times slower.
        values |= {
            "random_state": seed,
            "n_jobs": 1,
            "verbose": -1,
            "deterministic": True,
            "force_row_wise": True,
        }
        if contract.task == "multiclass":
            # With a rare class, starting from the class frequencies makes the training diverge.
            values["boost_from_average"] = False
        # LightGBM accepts NaN, so numbers stay as they are.
        numbers = [("numbers", "passthrough", contract.numbers())]
        return _trees(contract, kind(**values), numbers, encoding, seed)

    # An encoder learns from all rows.
    return Candidate("gradient_boosting", build, grid or ({},), log_target, divisible=encoding == "ordinal")


def over_sampled(candidate: Candidate, sampler: Callable[[int], Any] | None = None) -> Candidate:
    """The candidate on training rows that imbalanced-learn resamples: by default all classes become equally frequent.

    The graph corrects the probabilities for the class frequencies of the training rows (Elkan, "The foundations of
    cost-sensitive learning", 2001, theorem 2).
    """

    def random(seed: int) -> Any:
        from imblearn.over_sampling import RandomOverSampler

        return RandomOverSampler(random_state=seed)

    if candidate.on_dask:
        raise UseCaseError(f"{candidate.name} can't be sampled: no machine has all of its rows")
    tasks = tuple(task for task in candidate.tasks if task in CLASSIFICATION)
    return replace(candidate, name=f"over_sampled_{candidate.name}", sampler=sampler or random, tasks=tasks)


def on_dask(candidate: Candidate) -> Candidate:
    """The candidate, learnt by the workers of a Dask cluster together: each reads a part of the training rows.

    The cluster is the one of `LAB_DASK_SCHEDULER`, or two processes on this machine for the time of the training.
    Raises `UseCaseError` for a candidate that can't learn so: only `gradient_boosting` with the encoding "ordinal" can.
    """
    if not candidate.divisible or candidate.sampler:
        raise UseCaseError(
            f"{candidate.name} can't learn on Dask: only gradient_boosting with encoding='ordinal' can"
        )
    return replace(candidate, name=f"on_dask_{candidate.name}", on_dask=True)


def tuned(
    candidate: Candidate, space: Space, *, trials: int | None = 30, seconds: float | None = None
) -> Candidate:
    """The candidate with parameters that Optuna searches, after every point of its grid.

    space, trials, seconds: as in `Tuning`. A parameter that the space doesn't name stays as in the grid's first point.

    Raises `UseCaseError` for a space or a bound that can't be used.
    """
    tuning = Tuning(space, trials, seconds)
    if tuning.most() <= len(candidate.grid):
        raise UseCaseError(
            f"{trials} trials leave none for tuning: the grid of {candidate.name} has {len(candidate.grid)} points"
        )
    return replace(candidate, name=f"tuned_{candidate.name}", tuning=tuning)


def _linear(contract: Contract, estimator: Any, *before: Any) -> "Pipeline":
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, PowerTransformer, RobustScaler

    # A linear model extrapolates badly, so numbers are transformed, then clipped to the training range.
    blocks = _filled(contract, RobustScaler(), PowerTransformer(), MinMaxScaler((-3, 3), clip=True))
    if categories := contract.categories():
        blocks.append(("categories", OneHotEncoder(handle_unknown="ignore"), categories))
    return make_pipeline(ColumnTransformer(blocks), *before, estimator)


def _forest(name: str, family: str, grid: Sequence[Params], log_target: bool, encoding: str) -> Candidate:
    def build(contract: Contract, params: Params, seed: int) -> "Pipeline":
        from sklearn import ensemble

        kind = getattr(ensemble, family + ("Regressor" if contract.task == "regression" else "Classifier"))
        bounded = {"n_estimators": 100, "max_depth": 12, "min_samples_leaf": 3}
        estimator = kind(**bounded | dict(params), random_state=seed)
        # Forests accept NaN, but skl2onnx converts that wrongly and raises no error, so missing numbers are imputed.
        return _trees(contract, estimator, _filled(contract), encoding, seed)

    return Candidate(name, build, grid or ({},), log_target)


def _trees(contract: Contract, estimator: Any, blocks: list[Any], encoding: str, seed: int) -> "Pipeline":
    from sklearn.compose import ColumnTransformer
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import TargetEncoder

    if encoding not in ("ordinal", "target"):
        raise ModelError(f"encoding is {encoding!r}; it must be ordinal or target")
    if encoding == "target" and contract.task == "multiclass":
        raise ModelError("target encoding of several classes doesn't convert to ONNX; use encoding='ordinal'")
    if categories := contract.categories():
        # `TargetEncoder` would infer a multiclass target from integer prices, so the type is set.
        kind, folds = ("continuous", KFold) if contract.task == "regression" else ("binary", StratifiedKFold)
        splitter: Any = folds(5, shuffle=True, random_state=seed)
        encoder = TargetEncoder(target_type=kind, cv=splitter) if encoding == "target" else "passthrough"
        blocks = [*blocks, ("categories", encoder, categories)]
    return make_pipeline(ColumnTransformer([block for block in blocks if block[2]]), estimator)


def _filled(contract: Contract, *after: Any) -> list[Any]:
    """Numbers with the median for missing ones, and an indicator column for those that training rows miss."""
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline

    if not (numbers := contract.numbers()):
        return []
    filled = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), *after)
    some_missing = [
        index for index in numbers if contract.reference[contract.features[index].name].shares[-1] > 0
    ]
    indicator = [("missing", MissingIndicator(features="all"), some_missing)] if some_missing else []
    return [("numbers", filled, numbers), *indicator]


def _logistic(C: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, max_iter=300)
