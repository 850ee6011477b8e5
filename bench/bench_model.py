"""The model of the bench: 47 fields and 100 trees, registered as the champion of the use case `bench`."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestRegressor

from mlops_lab.contract import MODEL_FILE, Contract, Lineage
from mlops_lab.data.database import connect, create
from mlops_lab.data.ledger import Ledger
from mlops_lab.data.tables import RAW, Model
from mlops_lab.features import Category, Number
from mlops_lab.model.drift import reference
from mlops_lab.model.registry import CHAMPION, Registry
from mlops_lab.model.signing import signing_key
from mlops_lab.model.tags import VersionTags
from mlops_lab.settings import Settings

NUMBERS, CATEGORIES = 37, 10


def publish(home: Path) -> Contract:
    """Makes RawData, an MLflow store and the model in this folder; the model's contract."""
    rng = np.random.default_rng(0)
    codes = [f"value {i}" for i in range(30)]
    features = [Number(f"number_{i}", minimum=-100, maximum=100, example=1.5) for i in range(NUMBERS)]
    features += [
        Category(f"category_{i}", allow_unknown=True, vocabulary=codes, example="value 3")
        for i in range(CATEGORIES)
    ]
    numbers, values = rng.normal(size=(2000, NUMBERS)), rng.integers(0, 32, size=(2000, CATEGORIES))
    x = np.hstack([numbers, values]).astype(np.float32)
    contract = Contract(
        use_case="bench",
        title="Bench",
        task="regression",
        target=Number("y"),
        features=features,
        metric="rmse",
        greater_is_better=False,
        reference={f.name: reference(x[:, i], i >= NUMBERS) for i, f in enumerate(features)},
        lineage=Lineage(run_id="", candidate="forest", batches=[], rows={}, created_at=datetime.now(UTC)),
    )
    model = RandomForestRegressor(100, max_depth=8, random_state=0).fit(x, x[:, 0] * x[:, 1] + x[:, -1])
    graph = to_onnx(model, initial_types=[("x", FloatTensorType([None, x.shape[1]]))], target_opset=18)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "flat"))
    graph.graph.node.append(onnx.helper.make_node("Reshape", [graph.graph.output[0].name, "flat"], ["y"]))
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None]))
    folder = home / "model"
    folder.mkdir()
    contract.save(folder)
    (folder / MODEL_FILE).write_bytes(graph.SerializeToString())
    raw = connect(f"sqlite:///{home}/RawData.db")
    create(RAW, raw)
    registry = Registry(f"sqlite:///{home}/mlflow.db")
    run = registry.client.create_run(registry.client.create_experiment("bench", str(home / "artifacts")))
    version = registry.register(
        "bench", run.info.run_id, folder, VersionTags(), signing_key(Settings(home=home))
    )
    record = {"use_case": "bench", "version": version.version, "digest": version.digest}
    Ledger(raw).put_model(Model(**record, run_id=version.run_id, batch_id=1))
    registry.set_alias("bench", CHAMPION, version.version)
    return contract
