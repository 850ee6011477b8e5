"""Small real models for tests: scikit-learn fitted on made-up rows, as ONNX graph and contract in a folder."""

from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from mlflow import MlflowClient
from mlops_lab.contract import MODEL_FILE, Contract
from mlops_lab.evaluation import Cell, Evaluation
from mlops_lab.features import Boolean, Category, Date, Integer, Number
from mlops_lab.history import Lineage
from mlops_lab.model import signing
from mlops_lab.model.drift import reference
from mlops_lab.model.registry import Registry, Version
from mlops_lab.model.tags import VersionTags

ROWS = 400
# What the versions of these models are signed with.
SIGNING_KEY = signing.make_key()
STATES = [f"State {i:03d}" for i in range(120)]
FEATURES = [
    Number("area", "Living area", unit="m2", minimum=5, maximum=2000, example=120.5),
    Integer("rooms", "Rooms", minimum=0, maximum=60, required=True, example=3),
    Category("kind", "Kind", allowed=["house", "flat"], vocabulary=["flat", "house"], example="flat"),
    Category("state", "State", allow_unknown=True, vocabulary=STATES, example="State 000"),
    Boolean("garden", "Garden", example=True),
    Date("sold", "Sold on", example="2024-01-31"),
]
TARGETS = {
    "houses": Number("price", "Price", unit="USD", minimum=1),
    "clinic": Boolean("readmitted", "Readmitted"),
    "forest": Category("cover", "Cover", allowed=["pine", "fir", "aspen"]),
}
TASKS = {"houses": "regression", "clinic": "binary", "forest": "multiclass"}


def raw_rows(n: int, seed: int = 0) -> list[dict]:
    """n rows as a caller sends them."""
    rng = np.random.default_rng(seed)
    return [
        {
            "area": round(float(rng.uniform(20, 300)), 1) if rng.random() > 0.1 else None,
            "rooms": int(rng.integers(1, 9)),
            "kind": str(rng.choice(["flat", "house"])),
            "state": STATES[min(int(rng.exponential(8)), len(STATES) - 1)],
            "garden": bool(rng.random() > 0.5),
            "sold": date.fromordinal(738000 + int(rng.integers(0, 3000))).isoformat(),
        }
        for _ in range(n)
    ]


def build(folder: Path, use_case: str = "houses", scale: float = 1.0) -> Contract:
    """Writes `model.onnx` and `contract.json`. `scale` makes versions that predict different prices."""
    folder.mkdir(parents=True, exist_ok=True)
    contract, graph = _fitted(use_case, scale)
    (folder / MODEL_FILE).write_bytes(graph)
    contract.save(folder)
    return contract


@cache
def _fitted(use_case: str, scale: float) -> tuple[Contract, bytes]:
    """(contract, graph); fitted once in a test run."""
    task, target = TASKS[use_case], TARGETS[use_case]
    draft = Contract(
        use_case=use_case,
        title=use_case.capitalize(),
        description=f"Made-up {use_case}",
        task=task,
        target=target,
        features=FEATURES,
        missing=["?"],
        classes={"regression": [], "binary": ["false", "true"], "multiclass": TARGETS["forest"].allowed}[
            task
        ],
        threshold=0.3 if task == "binary" else None,
        metric="rmse",
        greater_is_better=False,
        metrics={"test": {"rmse": 1.0}},
        evaluation=Evaluation(
            rows=ROWS,
            groups=ROWS,
            intervals={"rmse": (0.9, 1.1)},
            slices=[],
            cells=[Cell(within={}, rows=ROWS, errors=[-1.0, 0.0, 1.0])],
        ),
        lineage=Lineage(
            run_id="0" * 32,
            candidate="small",
            batches=[1],
            rows={"train": ROWS},
            created_at=datetime.now(UTC),
        ),
    )
    x = draft.encode(draft.read(raw_rows(ROWS)))
    signal = np.nan_to_num(x[:, 0], nan=100) + 20 * x[:, 1] + 30 * x[:, 4] * x[:, 2]
    if task == "regression":
        estimator, y = RandomForestRegressor(8, max_depth=5, random_state=0), 1000 * scale * signal
    else:
        estimator = RandomForestClassifier(8, max_depth=5, random_state=0)
        bins = [np.quantile(signal, 0.8)] if task == "binary" else np.quantile(signal, [0.4, 0.8])
        y = np.digitize(signal, bins)
    model = make_pipeline(SimpleImputer(), estimator).fit(x, y)
    categories = set(draft.categories())
    contract = draft.model_copy(
        update={
            "reference": {f.name: reference(x[:, i], i in categories) for i, f in enumerate(FEATURES)},
            "background": [[None if np.isnan(v) else float(v) for v in row] for row in x[:20]],
        }
    )
    return contract, graph(model, x.shape[1])


def linear(folder: Path) -> Contract:
    """A model with a known explanation: y = 2 area + 3 rooms."""
    contract = build(folder)
    numbers = [f for f in FEATURES if f.name in ("area", "rooms")]
    contract = contract.model_copy(
        update={"features": numbers, "reference": {}, "background": [[10.0, 1.0], [30.0, 3.0]]}
    )
    x = np.array([[0, 0], [1, 0], [0, 1], [2, 3]], dtype=np.float32)
    fitted = make_pipeline(SimpleImputer(), LinearRegression()).fit(x, x @ [2, 3])
    (folder / MODEL_FILE).write_bytes(graph(fitted, 2))
    contract.save(folder)
    return contract


def graph(model, width: int) -> bytes:
    """A fitted pipeline as a graph with the input x and the output y."""
    last = model[-1]
    options = {id(last): {"zipmap": False}} if hasattr(last, "predict_proba") else None
    made = to_onnx(
        model, initial_types=[("x", FloatTensorType([None, width]))], options=options, target_opset=18
    )
    out = made.graph.output[-1]
    if options:
        made.graph.node.append(onnx.helper.make_node("Identity", [out.name], ["y"]))
        shape = [None, len(last.classes_)]
    else:
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat"))
        made.graph.node.append(onnx.helper.make_node("Reshape", [out.name, "flat"], ["y"]))
        shape = [None]
    del made.graph.output[:]
    made.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(made)
    return made.SerializeToString()


def register(registry: Registry, folder: Path, use_case: str, **tags: str) -> Version:
    """Makes the folder a version of the use case, in a run of its own."""
    client: MlflowClient = registry.client
    found = client.get_experiment_by_name(use_case)
    experiment = found.experiment_id if found else client.create_experiment(use_case)
    run = client.create_run(experiment)
    return registry.register(use_case, run.info.run_id, folder, VersionTags(**tags), SIGNING_KEY)


def make_endless(folder: Path) -> None:
    """Replaces the graph by one that counts to 10^7, for half a minute, before it predicts."""
    helper, kind = onnx.helper, onnx.TensorProto
    scalar = [helper.make_tensor_value_info(name, kind.FLOAT, []) for name in ("before", "after")]
    turn = helper.make_graph(
        [
            helper.make_node("Add", ["before", "one"], ["after"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("number", kind.INT64, []),
            helper.make_tensor_value_info("go", kind.BOOL, []),
            scalar[0],
        ],
        [helper.make_tensor_value_info("go_on", kind.BOOL, []), scalar[1]],
    )
    constants = {
        "turns": np.int64(10**7),
        "yes": np.bool_(True),
        "one": np.float32(1),
        "zero": np.float32(0),
        "axis": np.array([1], dtype=np.int64),
    }
    made = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Loop", ["turns", "yes", "zero"], ["count"], body=turn),
                helper.make_node("ReduceSum", ["x", "axis"], ["sums"], keepdims=0),
                helper.make_node("Add", ["sums", "count"], ["y"]),
            ],
            "endless",
            [helper.make_tensor_value_info("x", kind.FLOAT, [None, len(FEATURES)])],
            [helper.make_tensor_value_info("y", kind.FLOAT, [None])],
            [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    (folder / MODEL_FILE).write_bytes(made.SerializeToString())


def make_fragile(folder: Path) -> None:
    """Replaces the graph by one that gives no finite number for areas above 1000."""
    helper = onnx.helper
    weights = np.array([[1.0]] + [[0.0]] * (len(FEATURES) - 1), dtype=np.float32)
    constants = {"w": weights, "limit": np.float32([1000.0]), "flat": np.array([-1], dtype=np.int64)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["area"]),
        helper.make_node("Sub", ["limit", "area"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root"]),
        helper.make_node("Reshape", ["root", "flat"], ["y"]),
    ]
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "fragile",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, len(FEATURES)])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None])],
            [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    (folder / MODEL_FILE).write_bytes(made.SerializeToString())
