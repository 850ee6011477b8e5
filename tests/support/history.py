"""A small lab's past, recorded in a real MLflow: three use cases, their batches, candidates, models and plots."""

import json
import struct
import zlib
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mlops_lab.contract import MODEL_FILE, Boolean, Category, Contract, Date, Integer, Lineage, Number
from mlops_lab.model.registry import Registry
from mlops_lab.model.tags import VersionTags

STATES = ["California", "Texas", "Florida", "New York", "Puerto Rico"]
CITIES = [f"City {place:03}" for place in range(300)]
CODES = {str(code): f"Chapter {code // 100}" for code in range(2500)}  # too many to send to a page
BOUND = 0.25


def housing() -> Contract:
    return _contract(
        "housing",
        "House price",
        "regression",
        Number("price", unit="USD", minimum=1),
        [
            Integer("bed", "Bedrooms", minimum=0, maximum=60, example=3),
            Integer("bath", "Bathrooms", minimum=0, maximum=60, example=2),
            Number("acre_lot", "Lot size", unit="acre", minimum=0, maximum=100_000, example=0.12),
            Number(
                "house_size",
                "House size",
                unit="sqft",
                minimum=100,
                maximum=100_000,
                example=1500,
                required=True,
            ),
            Category("state", "State or territory", vocabulary=STATES, example="California"),
            Category("city", "City", allow_unknown=True, vocabulary=CITIES, example="City 007"),
            Category(
                "zip_code",
                "Zip code",
                allow_unknown=True,
                width=5,
                vocabulary=["00601", "90210", "10001"],
                example="00601",
            ),
            Category(
                "status",
                "Status",
                allowed=["for_sale", "sold"],
                vocabulary=["for_sale", "sold"],
                example="for_sale",
            ),
            Boolean("new_build", "New building", example=False),
            Date("prev_sold_date", "Sold before on", minimum=date(1900, 1, 1), example="2019-06-01"),
        ],
        metric="rmse_log",
        greater_is_better=False,
        description="The asking price of a listed property in the United States.",
        target_scale=60_000.0,
    )


def diabetes() -> Contract:
    """47 fields, so that the long form is seen; one field whose values a page can't hold."""
    measures = [
        Integer(f"count_{n}", f"Number of visits {n}", minimum=0, maximum=120, example=n % 7)
        for n in range(10)
    ]
    drugs = [
        Category(
            f"drug_{n}",
            f"Drug {n}",
            allowed=["No", "Steady", "Up", "Down"],
            vocabulary=["No", "Steady", "Up", "Down"],
            example="No",
        )
        for n in range(36)
    ]
    diagnosis = Category(
        "diag_1",
        "Diagnosis",
        mapping=CODES,
        allowed=list(CODES),
        vocabulary=[f"Chapter {n}" for n in range(25)],
        example="250",
    )
    return _contract(
        "diabetes",
        "Readmission",
        "binary",
        Boolean("readmitted", "Readmitted within 30 days"),
        [*measures, diagnosis, *drugs],
        metric="roc_auc",
        greater_is_better=True,
        classes=["false", "true"],
        threshold=0.11,
        target_scale=0.6,
    )


def covertype() -> Contract:
    kinds = [
        "Spruce/Fir",
        "Lodgepole Pine",
        "Ponderosa Pine",
        "Cottonwood/Willow",
        "Aspen",
        "Douglas-fir",
        "Krummholz",
    ]
    return _contract(
        "covertype",
        "Forest cover",
        "multiclass",
        Category(
            "cover_type", "Cover type", description="What grows there most.", allowed=kinds, vocabulary=kinds
        ),
        [
            Number("elevation", "Elevation", unit="m", minimum=0, maximum=9000, example=2800.0),
            Number("slope", "Slope", unit="degree", minimum=0, maximum=90, example=12.0),
            Category(
                "wilderness_area",
                "Wilderness area",
                vocabulary=["Rawah", "Neota", "Comanche", "Cache"],
                example="Rawah",
            ),
        ],
        metric="accuracy",
        greater_is_better=True,
        classes=kinds,
        target_scale=1.0,
    )


def record(tracking_uri: str, folder: Path, contract: Contract, batches: int = 3) -> Registry:
    """Batches that brought a champion, a refused challenger and a skip; returns the registry."""
    registry = Registry(tracking_uri)
    client = registry.client
    experiment = client.create_experiment(contract.use_case)
    for number in range(batches):
        batch = client.create_run(experiment, run_name=f"batch-{number}", tags={"lab.kind": "batch"})
        outcome, why = _outcome(number, contract)
        _log_batch(client, batch.info.run_id, contract, number, outcome, why)
        if outcome != "skipped":
            _log_candidates(registry, folder, contract, experiment, batch.info.run_id, number, outcome, why)
        client.set_terminated(batch.info.run_id)
    return registry


def champion_of(registry: Registry, folder: Path, contract: Contract, tags: VersionTags | None = None) -> int:
    """Registers one more version of the contract's use case and serves it; returns its number."""
    client = registry.client
    experiment = client.get_experiment_by_name(contract.use_case)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(contract.use_case)
    run = client.create_run(experiment_id, tags={"lab.kind": "candidate"})
    version = registry.register(
        contract.use_case, run.info.run_id, _model(contract, folder, run.info.run_id), tags or VersionTags()
    )
    client.set_terminated(run.info.run_id)
    registry.set_alias(contract.use_case, "champion", version.version)
    return version.version


def with_features(contract: Contract, features: list) -> Contract:
    """The same use case, learnt anew with other features."""
    fields = {name: getattr(contract, name) for name in Contract.model_fields}
    del fields["background"], fields["lineage"], fields["format"], fields["target_reference"]
    return _contract(**fields | {"features": features}, target_scale=contract.target_reference["std"])


def batch_without_model(registry: Registry, use_case: str) -> None:
    """A use case whose first batch has landed and nothing more."""
    client = registry.client
    experiment = client.create_experiment(use_case)
    run = client.create_run(
        experiment, run_name="batch-0", tags={"lab.kind": "batch", "lab.batch_number": "0"}
    )
    client.log_metric(run.info.run_id, "received", 100)


def _outcome(number: int, contract: Contract) -> tuple[str, str]:
    if number == 0:
        return "promoted", "the first champion"
    if number % 3 == 2:
        return "skipped", "only 8 % of the batch's properties are new to the champion, and no feature drifted"
    return "refused", f"{contract.metric} 0.3312 is worse than the champion's 0.3304 on the same 2,214 rows"


def _log_batch(client, run_id: str, contract: Contract, number: int, outcome: str, why: str) -> None:
    received = 4055 + 2100 * number
    duplicates = received * (9 if outcome == "skipped" else 2) // 10
    quarantined, dropped = 17 + number, 120
    counts = {
        "received": received,
        "quarantined": quarantined,
        "stored": received - quarantined,
        "dropped": dropped,
        "duplicates": duplicates,
        "clean": received - quarantined - dropped - duplicates,
        "gap": 0,
    }
    if number:
        psi = {f"psi.{f.name}": 0.4 / (place + 1.0) / number for place, f in enumerate(contract.features)}
        counts |= psi | {"psi_max": max(psi.values()), "target_std_change": -0.12}
    for name, value in counts.items():
        client.log_metric(run_id, name, value)
    tags = {
        "batch_id": number + 1,
        "batch_number": number,
        "decision": "skip" if outcome == "skipped" else "train",
        "reason": why if outcome == "skipped" else "72 % of the batch's properties are new to the champion",
        "outcome": outcome,
        "outcome_reason": why,
        "payload": f"{contract.use_case}/batch-{number}.json.gz",
    }
    for name, value in tags.items():
        client.set_tag(run_id, f"lab.{name}", value)
    records = [
        {
            "row": 11 * n,
            "column": contract.features[0].name,
            "rule": "minimum",
            "message": "must be at least 0, not -1",
            "value": "-1",
        }
        for n in range(quarantined)
    ]
    client.log_text(run_id, json.dumps(records), "quarantine.json")


def _log_candidates(registry, folder, contract, experiment, batch_run, number, outcome, why) -> None:
    client = registry.client
    best = None
    for place, candidate in enumerate(["gradient_boosting", "random_forest", "ridge"]):
        worse = 0.05 * place + 0.003 * number
        score = 0.9 - worse if contract.greater_is_better else 0.33 + worse
        run = client.create_run(
            experiment,
            run_name=candidate,
            tags={"lab.kind": "candidate", "lab.candidate": candidate, "mlflow.parentRunId": batch_run},
        )
        for name, value in {
            f"validation.{contract.metric}": score,
            f"test.{contract.metric}": score + 0.002,
            f"baseline.test.{contract.metric}": 0.5 if contract.greater_is_better else 0.81,
        }.items():
            client.log_metric(run.info.run_id, name, value)
        best = best or (run.info.run_id, candidate, score)
        client.set_terminated(run.info.run_id)
    run_id, candidate, score = best
    plots = folder / f"plots-{run_id}"
    plots.mkdir(parents=True)
    for name in ("shap_summary.png", "predicted_against_actual.png"):
        (plots / name).write_bytes(_png())
    client.log_artifacts(run_id, str(plots), "plots")
    tags = VersionTags(
        candidate=candidate,
        metric=contract.metric,
        validation=score,
        test=score + 0.002,
        outcome=outcome,
        reason=why,
        batch_number=number,
    )
    version = registry.register(contract.use_case, run_id, _model(contract, folder, run_id), tags)
    if outcome == "promoted":
        registry.set_alias(contract.use_case, "champion", version.version)


def _contract(use_case, title, task, target, features, target_scale, **values) -> Contract:
    generator = np.random.default_rng(7)
    draft = Contract(
        use_case=use_case,
        title=title,
        task=task,
        target=target,
        features=features,
        target_reference={"std": target_scale},
        **values,
    )
    example = draft.encode(draft.read([draft.example]))[0].astype(float)
    background = example + generator.normal(0, 1, (20, len(features))).round(3) * (
        np.abs(example) * 0.1 + 0.5
    )
    return draft.model_copy(
        update={
            "background": background.tolist(),
            "lineage": Lineage(
                run_id="",
                candidate="gradient_boosting",
                batches=[1],
                rows={"train": 60},
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
            ),
        }
    )


def _model(contract: Contract, folder: Path, name: str) -> Path:
    """A linear model as ONNX, scaled so that its predictions look like the use case's, beside the contract."""
    path = folder / f"model-{name}"
    path.mkdir(parents=True)
    background = np.array(contract.background, dtype=np.float32)
    center, scale = background.mean(0), background.std(0) + 1
    size = float(contract.target_reference["std"])
    outputs = len(contract.classes) if contract.task == "multiclass" else 1
    weights = np.random.default_rng(3).normal(0, 1, (len(contract.features), outputs))
    weights *= size / np.sqrt(len(contract.features)) / scale[:, None]
    bias = {"regression": 7 * size, "binary": -1.8}.get(contract.task, 0.0)
    constants = {"center": center, "weights": weights, "bias": np.full(outputs, bias), "nothing": np.zeros(1)}
    nodes = [
        helper.make_node("Sub", ["x", "center"], ["moved"]),
        helper.make_node("IsNaN", ["moved"], ["missing"]),
        helper.make_node("Where", ["missing", "nothing", "moved"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["score"]),
    ]
    shape = ["n", len(contract.classes)]
    if contract.task == "regression":
        shape = ["n"]
        nodes.append(helper.make_node("Squeeze", ["score", "axes"], ["y"]))
    elif contract.task == "binary":
        constants["one"] = np.ones(1)
        nodes += [
            helper.make_node("Sigmoid", ["score"], ["yes"]),
            helper.make_node("Sub", ["one", "yes"], ["no"]),
            helper.make_node("Concat", ["no", "yes"], ["y"], axis=1),
        ]
    else:
        nodes.append(helper.make_node("Softmax", ["score"], ["y"], axis=1))
    stored = [
        numpy_helper.from_array(np.asarray(value, dtype=np.float32), key)
        for key, value in constants.items()
        if value is not None
    ]
    stored.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"))
    graph = helper.make_graph(
        nodes,
        contract.use_case,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(contract.features)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path / MODEL_FILE)
    contract.save(path)
    return path


def _png(width: int = 480, height: int = 270) -> bytes:
    """A plain coloured picture."""
    line = b"\0" + bytes((40, 110, 180)) * width

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(line * height)) + chunk(b"IEND", b"")
