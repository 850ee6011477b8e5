"""The models that a use case lets compete: each factory returns a `Candidate`, a recipe that training follows.

Every pipeline starts from the encoded matrix of `Contract.encode` (numbers with NaN where missing, categories as
codes) and holds only steps that convert to ONNX and stay equal there; training refuses what doesn't.
Importing this module loads no learning library, since the scheduler reads the use cases every few seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlops_lab.contract import FIRST, Contract

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
    members:    candidates whose outputs are averaged; `build` isn't used then.
    """

    name: str
    build: "Callable[[Contract, Mapping[str, Any], int], Pipeline] | None" = None
    grid: Sequence[Mapping[str, Any]] = ({},)
    log_target: bool = False
    sampler: Callable[[int], Any] | None = None
    members: "Sequence[Candidate]" = ()


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
        from sklearn.feature_selection import SelectKBest

        return _linear(contract, _logistic(params["C"]), SelectKBest(k=params["k"]))

    return Candidate("select_k_best", build, [{"k": k, "C": c} for c in C])


def random_forest(*grid: Mapping[str, Any], log_target: bool = False, encoding: str = "ordinal") -> Candidate:
    """Random forests; each point of the grid is parameters of scikit-learn's.

    Depth and leaves are bounded by default, so that the graph stays small (≲ 20 MB) and loads fast.
    """
    return _forest("random_forest", "RandomForest", grid, log_target, encoding)


def extra_trees(*grid: Mapping[str, Any], log_target: bool = False, encoding: str = "ordinal") -> Candidate:
    """Extremely randomised trees; else like `random_forest`."""
    return _forest("extra_trees", "ExtraTrees", grid, log_target, encoding)


def gradient_boosting(
    *grid: Mapping[str, Any], log_target: bool = False, encoding: str = "ordinal"
) -> Candidate:
    """LightGBM; each point of the grid is parameters of `LGBMRegressor` or `LGBMClassifier`."""

    def build(contract, params, seed):
        import lightgbm

        kind = lightgbm.LGBMRegressor if contract.task == "regression" else lightgbm.LGBMClassifier
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
        return _trees(
            contract, kind(**{"n_estimators": 300, "learning_rate": 0.05} | dict(params) | fixed), encoding
        )

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


def mean_of(*members: Candidate, name: str = "mean") -> Candidate:
    """The mean of the members' outputs, as one graph; each member's grid is searched on its own."""
    return Candidate(name, members=members)


def _linear(contract: Contract, estimator, *before) -> "Pipeline":
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, PowerTransformer, RobustScaler

    blocks = []
    if numbers := contract.numbers():
        # A linear model explodes on a value outside what it saw: shaped first, then held to the training range.
        shaped = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            RobustScaler(),
            PowerTransformer(),
            MinMaxScaler((-3, 3), clip=True),
        )
        blocks += [("numbers", shaped, numbers), ("missing", MissingIndicator(features="all"), numbers)]
    if categories := contract.categories():
        codes = [list(range(FIRST + len(contract.features[place].codes))) for place in categories]
        blocks.append(("categories", OneHotEncoder(categories=codes, handle_unknown="ignore"), categories))
    return make_pipeline(ColumnTransformer(blocks), *before, estimator)


def _trees(contract: Contract, estimator, encoding: str, impute: bool = False) -> "Pipeline":
    """encoding: "ordinal" takes the codes as they are; "target" puts the mean target of each code in its place."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import TargetEncoder

    numbers, categories = contract.numbers(), contract.categories()
    filled = (
        SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True)
        if impute
        else "passthrough"
    )
    if encoding == "ordinal" or not categories:
        return make_pipeline(filled, estimator) if impute else make_pipeline(estimator)
    # Left to guess, it takes whole dollars for classes.
    kind = "continuous" if contract.task == "regression" else "binary"
    blocks = [("categories", TargetEncoder(target_type=kind, random_state=0), categories)]
    if numbers:
        blocks.insert(0, ("numbers", filled, numbers))
    return make_pipeline(ColumnTransformer(blocks), estimator)


def _forest(name: str, family: str, grid, log_target: bool, encoding: str) -> Candidate:
    def build(contract, params, seed):
        from sklearn import ensemble

        kind = getattr(ensemble, family + ("Regressor" if contract.task == "regression" else "Classifier"))
        bounded = {"n_estimators": 100, "max_depth": 12, "min_samples_leaf": 3}
        return _trees(contract, kind(**bounded | dict(params), random_state=seed), encoding, impute=True)

    return Candidate(name, build, grid or ({},), log_target)


def _logistic(C: float):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=C, max_iter=300)
