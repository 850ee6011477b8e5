"""The lab's library: the contract, the data, the models and the loop that joins them.

A use case imports its names from here: `from mlops_lab import UseCase, Number, gradient_boosting, ACCURACY`. Each name
is loaded when it is first used, so that `import mlops_lab` stays light: Airflow reads the use cases every few seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_lab.candidates import (
        Candidate,
        extra_trees,
        gradient_boosting,
        linear_regression,
        logistic_regression,
        on_dask,
        over_sampled,
        random_forest,
        ridge,
        select_k_best,
        tuned,
    )
    from mlops_lab.check_policy import Bound, CheckPolicy
    from mlops_lab.contract import Contract, PromotionPolicy, RetrainPolicy
    from mlops_lab.features import Boolean, Category, Date, Integer, Number
    from mlops_lab.history import HistoryPolicy
    from mlops_lab.metrics import (
        ACCURACY,
        BRIER,
        F1,
        F1_MACRO,
        LOG_LOSS,
        MAE,
        MAPE,
        MDAPE,
        PRECISION,
        R2,
        R2_LOG,
        RECALL,
        RMSE,
        RMSE_LOG,
        ROC_AUC,
        Metric,
    )
    from mlops_lab.threshold import Threshold
    from mlops_lab.use_case import UseCase

__all__ = [
    "ACCURACY", "BRIER", "F1", "F1_MACRO", "LOG_LOSS", "MAE", "MAPE", "MDAPE", "PRECISION", "R2", "R2_LOG", "RECALL",
    "RMSE", "RMSE_LOG", "ROC_AUC", "Boolean", "Bound", "Candidate", "Category", "CheckPolicy", "Contract", "Date",
    "HistoryPolicy", "Integer", "Metric", "Number", "PromotionPolicy", "RetrainPolicy", "Threshold", "UseCase",
    "extra_trees", "gradient_boosting", "linear_regression", "logistic_regression", "on_dask", "over_sampled",
    "random_forest", "ridge", "select_k_best", "tuned",
]  # fmt: skip

# Searched in this order for a name.
_MODULES = (
    "use_case",
    "check_policy",
    "contract",
    "features",
    "history",
    "metrics",
    "threshold",
    "candidates",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"mlops_lab.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
