"""The simple models that `make quality` compares with: the recipe of every textbook, and no tuning."""

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlops_lab.candidates import Candidate, Params
from mlops_lab.contract import Contract


def plain_ridge() -> Candidate:
    """Ridge on the logarithm of the target, with scikit-learn's default penalty; clipped to the training range."""
    return Candidate("plain ridge", lambda contract, *_: _plain(contract, Ridge()), log_target=True)


def plain_logistic_regression() -> Candidate:
    """Logistic regression with scikit-learn's default penalty."""

    def build(contract: Contract, params: Params, seed: int) -> Pipeline:
        return _plain(contract, LogisticRegression(max_iter=300))

    return Candidate("plain logistic regression", build)


def _plain(contract: Contract, estimator: Any) -> Pipeline:
    """Medians for missing numbers, standardised numbers, one-hot categories."""
    blocks = [
        ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), contract.numbers()),
        ("categories", OneHotEncoder(handle_unknown="ignore"), contract.categories()),
    ]
    return make_pipeline(ColumnTransformer([block for block in blocks if block[2]]), estimator)
