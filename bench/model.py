"""The model of the bench: 45 fields like those of the diabetes use case, and 200 trees of LightGBM.

Every peer serves the same fitted trees: the lab as an ONNX graph with its contract, the others as a pickled pipeline
that takes a table of the raw fields. So their predictions must be equal.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from mlops_lab.contract import Contract
from mlops_lab.data.database import connect, create
from mlops_lab.data.ledger import Ledger
from mlops_lab.data.tables import RAW, Model
from mlops_lab.features import Boolean, Category, Integer
from mlops_lab.history import Lineage
from mlops_lab.model.drift import reference
from mlops_lab.model.export import Fitted, save
from mlops_lab.model.registry import CHAMPION, Registry
from mlops_lab.model.signing import signing_key
from mlops_lab.model.tags import VersionTags
from mlops_lab.settings import Settings

NUMBERS = 8
# The number of values of each category: three diagnoses, 21 drugs, and thirteen others.
CATEGORIES = [700] * 3 + [4] * 21 + [6, 3, 10, 9, 8, 26, 17, 18, 70, 4, 4, 2, 2]
TRAINING_ROWS, TREES = 20_000, 200
NAMES = ("bench", "bench_2", "bench_3")


def fields() -> list[Integer | Category]:
    """Integers of a hospital stay, and categories whose values are texts of five to eleven characters."""
    numbers = [Integer(f"number_of_things_{i}", minimum=0, maximum=366, example=3) for i in range(NUMBERS)]
    return [
        *numbers,
        *(
            Category(f"category_{i}", allow_unknown=True, vocabulary=_values(i, n), example=_values(i, n)[0])
            for i, n in enumerate(CATEGORIES)
        ),
    ]


def rows(n: int, seed: int) -> list[dict[str, Any]]:
    """Raw rows, JSON types."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {}
    for feature in fields():
        if isinstance(feature, Category):
            # The first values are the most frequent ones.
            picks = np.minimum(rng.geometric(0.3, n) - 1, len(feature.vocabulary) - 1)
            columns[feature.name] = [feature.vocabulary[pick] for pick in picks]
        else:
            columns[feature.name] = rng.poisson(5, n).tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _contract() -> Contract:
    return Contract(
        use_case=NAMES[0],
        title="Bench",
        task="binary",
        target=Boolean("back"),
        features=fields(),
        classes=["false", "true"],
        threshold=0.5,
        metric="roc_auc",
        greater_is_better=True,
        lineage=Lineage(run_id="", candidate="lightgbm", batches=[], rows={}, created_at=datetime.now(UTC)),
    )


def fit() -> tuple[Contract, Fitted]:
    """The trees, and their contract."""
    contract = _contract()
    matrix = contract.encode(contract.read(rows(TRAINING_ROWS, seed=0)))
    trees = LGBMClassifier(n_estimators=TREES, n_jobs=1, verbose=-1).fit(matrix, _truth(matrix))
    kept = {
        feature.name: reference(matrix[:, index], isinstance(feature, Category))
        for index, feature in enumerate(contract.features)
    }
    fitted = Fitted(Pipeline([("trees", trees)]), class_weights=np.eye(2))
    return contract.model_copy(update={"reference": kept}), fitted


def publish(contract: Contract, fitted: Fitted, home: Path) -> None:
    """Makes RawData and an MLflow store in this folder, and the champions of the use cases `NAMES`.

    The first one has a second version, which is the same model.
    """
    raw = connect(f"sqlite:///{home}/RawData.db")
    create(RAW, raw)
    store = registry(home)
    experiment = store.client.create_experiment("bench", str(home / "artifacts"))
    key = signing_key(Settings(home=home))
    for name in NAMES:
        save(
            fitted.graph(len(contract.features)),
            contract.model_copy(update={"use_case": name}),
            home / "model" / name,
        )
    for name in (*NAMES, NAMES[0]):
        run = store.client.create_run(experiment)
        version = store.register(name, run.info.run_id, home / "model" / name, VersionTags(), key)
        record = {"use_case": name, "version": version.version, "digest": version.digest}
        Ledger(raw).put_model(Model(**record, run_id=version.run_id, batch_id=1))
        store.set_alias(name, CHAMPION, version.version)


def registry(home: Path) -> Registry:
    """The registry that `publish` made."""
    return Registry(f"sqlite:///{home}/mlflow.db")


def pipeline(contract: Contract, fitted: Fitted) -> Pipeline:
    """The same trees behind an encoder of the raw fields, as people pickle it. It takes a DataFrame."""
    categories = [feature for feature in contract.features if isinstance(feature, Category)]
    # The codes of the contract: 0 is missing, 1 is unknown, the vocabulary follows.
    known = [["", "unknown", *feature.vocabulary] for feature in categories]
    encoder = OrdinalEncoder(categories=known, handle_unknown="use_encoded_value", unknown_value=-1)
    trees = fitted.pipeline.named_steps["trees"]
    columns = _columns(contract, encoder)
    columns.fit(pandas.DataFrame(rows(10, seed=2)))
    return Pipeline([("columns", columns), ("trees", trees)])


def one_hot_pipeline() -> Pipeline:
    """What people write: one-hot categories and LightGBM with as many trees, fitted on the same rows."""
    training = rows(TRAINING_ROWS, seed=0)
    contract = _contract()
    matrix = contract.encode(contract.read(training))
    encoder = OneHotEncoder(handle_unknown="ignore")
    trees = LGBMClassifier(n_estimators=TREES, n_jobs=1, verbose=-1)
    whole = Pipeline([("columns", _columns(contract, encoder)), ("trees", trees)])
    return whole.fit(pandas.DataFrame(training), _truth(matrix))


def _columns(contract: Contract, encoder: Any) -> ColumnTransformer:
    names = [feature.name for feature in contract.features]
    return ColumnTransformer(
        [("numbers", "passthrough", names[:NUMBERS]), ("categories", encoder, names[NUMBERS:])]
    )


def _truth(matrix: np.ndarray) -> np.ndarray:
    signal = matrix[:, 0] + matrix[:, NUMBERS] - matrix[:, NUMBERS + 4]
    return signal + np.random.default_rng(1).normal(size=len(matrix)) > 7


def _values(category: int, n: int) -> list[str]:
    return [f"c{category}-{value:03}" for value in range(n)]
