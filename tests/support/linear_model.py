"""A linear model as ONNX, made without a training."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mlops_lab.contract import MODEL_FILE, Contract


def write_model(contract: Contract, path: Path) -> Path:
    """Writes the graph and the contract into a new folder. Its predictions have the size of the use case's target."""
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
