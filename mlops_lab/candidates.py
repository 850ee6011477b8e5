"""The models that a use case lets compete: each factory returns a `Candidate`, a recipe that training follows.

Every pipeline starts from the encoded matrix of `Contract.encode` (numbers with NaN where missing, categories as
codes) and holds only steps that convert to ONNX and stay equal there; training refuses what doesn't.
Importing this module loads no learning library, since the scheduler reads the use cases every few seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlops_lab.contract import Contract
from mlops_lab.errors import ModelError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class Candidate:
    """One way to learn a use case.

    name:       unique within its use case; names the MLflow run.
    build:      (contract, params, seed) → unfitted scikit-learn pipeline over the encoded matrix.
    grid:       points that are tried; the best by the use case's metric on validation is kept.
    log_target: regression: learns log(1 + target); the graph turns it back.
    sampler:    seed → imbalanced-learn sampler, applied to the training rows only; the graph corrects the
                probabilities back to the prior of the training rows.
    """

    name: str
    build: "Callable[[Contract, Mapping[str, Any], int], Pipeline]"
    grid: Sequence[Mapping[str, Any]] = ({},)
    log_target: bool = False
    sampler: Callable[[int], Any] | None = None


def linear_regression(*, log_target: bool = False) -> Candidate:
    """Least squares on one-hot categories and numbers brought near a normal shape."""

    def build(contract, params, seed):
        from sklearn.linear_model import LinearRegression

        return _linear(contract, LinearRegression())

    return Candidate("linear_regression", build, log_target=log_target)


def ridge(
    alphas: Sequence[float] = (0.1, 1.0, 10.0, 100.0, 1000.0), *, log_target: bool = False
) -> Candidate:
    """Like `linear_regression`, with shrunk coefficients."""

    def build(contract, params, seed):
        from sklearn.linear_model import Ridge

        return _linear(contract, Ridge(alpha=params["alpha"]))

    return Candidate("ridge", build, [{"alpha": alpha} for alpha in alphas], log_target)


def logistic_regression(C: Sequence[float] = (0.01, 0.1, 1.0)) -> Candidate:
    """Logistic regression on one-hot categories and numbers brought near a normal shape."""

    def build(contract, params, seed):
        return _linear(contract, _logistic(params["C"]))

    return Candidate("logistic_regression", build, [{"C": c} for c in C])


def select_k_best(k: int = 50, C: Sequence[float] = (1.0,)) -> Candidate:
    """Logistic regression on the `k` columns, after one-hot, that differ most between the classes (F test)."""

    def build(contract, params, seed):
        from sklearn.feature_selection import SelectKBest, VarianceThreshold

        # A category that no training row has is a constant column, which the F test can't divide by.
        return _linear(contract, _logistic(params["C"]), VarianceThreshold(), SelectKBest(k=params["k"]))

    return Candidate("select_k_best", build, [{"k": k, "C": c} for c in C])


def random_forest(*grid: Mapping[str, Any], log_target: bool = False, encoding: str = "ordinal") -> Candidate:
    """Random forests; each point of the grid is parameters of scikit-learn's.

    encoding: "ordinal" takes the codes of categories as they are; "target" puts the mean target of each code in its
              place (regression and binary), which serves categories of many values.

    Depth and leaves are bounded by default, so that the graph stays small (≲ 20 MB) and loads fast.
    """
    return _forest("random_forest", "RandomForest", grid, log_target, encoding)


def extra_trees(*grid: Mapping[str, Any], log_target: bool = False, encoding: str = "ordinal") -> Candidate:
    """Extremely randomised trees; else like `random_forest`."""
    return _forest("extra_trees", "ExtraTrees", grid, log_target, encoding)


def gradient_boosting(
    *grid: Mapping[str, Any], log_target: bool = False, encoding: str = "ordinal"
) -> Candidate:
    """LightGBM; a point of the grid is parameters of `LGBMRegressor` or `LGBMClassifier`. Else like `random_forest`."""

    def build(contract, params, seed):
        import lightgbm

        kind = lightgbm.LGBMRegressor if contract.task == "regression" else lightgbm.LGBMClassifier
        usual = {"n_estimators": 400, "learning_rate": 0.04, "colsample_bytree": 0.7}
        # More threads than idle cores make it several times slower.
        fixed = {
            "random_state": seed,
            "n_jobs": 1,
            "verbose": -1,
            "deterministic": True,
            "force_row_wise": True,
        }
        if (
            contract.task == "multiclass"
        ):  # a rare class else pulls the starting scores apart, and it collapses
            fixed["boost_from_average"] = False
        numbers = [("numbers", "passthrough", contract.numbers())]  # it takes missing numbers as they are
        return _trees(contract, kind(**usual | dict(params) | fixed), numbers, encoding, seed)

    return Candidate("gradient_boosting", build, grid or ({},), log_target)


def over_sampled(candidate: Candidate, sampler: Callable[[int], Any] | None = None) -> Candidate:
    """The candidate on training rows resampled by imbalanced-learn, by default until all classes are equally frequent.

    The graph shifts the odds back to the prior of the training rows (Elkan, "The foundations of cost-sensitive
    learning", 2001, theorem 2), so probabilities stay probabilities.
    """

    def random(seed):
        from imblearn.over_sampling import RandomOverSampler

        return RandomOverSampler(random_state=seed)

    return replace(candidate, name=f"over_sampled_{candidate.name}", sampler=sampler or random)


def _linear(contract: Contract, estimator, *before) -> "Pipeline":
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, PowerTransformer, RobustScaler

    # A linear model explodes on a value outside what it saw: shaped first, then held to the training range.
    blocks = _filled(contract, RobustScaler(), PowerTransformer(), MinMaxScaler((-3, 3), clip=True))
    if categories := contract.categories():
        blocks.append(("categories", OneHotEncoder(handle_unknown="ignore"), categories))
    return make_pipeline(ColumnTransformer(blocks), *before, estimator)


def _forest(name: str, family: str, grid, log_target: bool, encoding: str) -> Candidate:
    def build(contract, params, seed):
        from sklearn import ensemble

        kind = getattr(ensemble, family + ("Regressor" if contract.task == "regression" else "Classifier"))
        bounded = {"n_estimators": 100, "max_depth": 12, "min_samples_leaf": 3}
        estimator = kind(**bounded | dict(params), random_state=seed)
        # Their own handling of missing numbers converts without a word to a graph that is wrong.
        return _trees(contract, estimator, _filled(contract), encoding, seed)

    return Candidate(name, build, grid or ({},), log_target)


def _trees(contract: Contract, estimator, blocks: list[tuple], encoding: str, seed: int) -> "Pipeline":
    from sklearn.compose import ColumnTransformer
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import TargetEncoder

    if encoding not in ("ordinal", "target"):
        raise ModelError(f"encoding is {encoding!r}; it must be ordinal or target")
    if encoding == "target" and contract.task == "multiclass":
        raise ModelError("target encoding of several classes doesn't convert to ONNX; use encoding='ordinal'")
    if categories := contract.categories():
        # Left to guess, it takes whole dollars for classes.
        kind, folds = ("continuous", KFold) if contract.task == "regression" else ("binary", StratifiedKFold)
        folds = folds(5, shuffle=True, random_state=seed)
        encoder = TargetEncoder(target_type=kind, cv=folds) if encoding == "target" else "passthrough"
        blocks = [*blocks, ("categories", encoder, categories)]
    return make_pipeline(ColumnTransformer([block for block in blocks if block[2]]), estimator)


def _filled(contract: Contract, *after) -> list[tuple]:
    """Numbers with the median where they are missing, and a column that says so where training rows miss some."""
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline

    if not (numbers := contract.numbers()):
        return []
    filled = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), *after)
    some_missing = [
        place for place in numbers if contract.reference[contract.features[place].name].shares[-1] > 0
    ]
    indicator = [("missing", MissingIndicator(features="all"), some_missing)] if some_missing else []
    return [("numbers", filled, numbers), *indicator]


def _logistic(C: float):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, max_iter=300)
