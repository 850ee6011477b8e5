"""A fitted pipeline as one ONNX graph, the proof that both predict the same, and its folder.

Input `x`: float32 (n, features) as `Contract.encode` gives. Output `y`: float32 (n,) in the target's unit, or
(n, classes) probabilities. Converters are sometimes wrong and raise no error, so every graph passes `check`.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from mlops_lab.contract import Contract
from mlops_lab.errors import ModelError, first_line
from mlops_lab.metrics import Metric
from mlops_lab.model.calibration import EDGE, Calibration
from mlops_lab.model.onnx_graph import OnnxGraph

OPSETS = {"": 18, "ai.onnx.ml": 3}
# The relative difference that counts as equal.
TOLERANCE = 1e-4
# The fraction of rows that must be equal: a float32 may fall on the other side of a tree's split.
MIN_EQUAL = 0.999

# A node that follows the converted graph: its kind, and its constant operand if it has one.
_Node = tuple[Any, ...]


@dataclass(frozen=True)
class Fitted:
    """A fitted pipeline, and what turns its output into the served one. The graph must equal `output`.

    bounds:        regression: the pipeline's predictions are clipped to this range.
    log:           regression: the pipeline predicts log(1 + target).
    class_weights: classifiers: (classes in the training rows, all classes); an entry is the weight of a probability
                   for a class. Afterwards each row is scaled to sum to 1.
    calibration:   classifiers: what follows, if anything does.
    """

    pipeline: Any
    bounds: tuple[float, float] = (-math.inf, math.inf)
    log: bool = False
    class_weights: np.ndarray | None = None
    calibration: Calibration | None = None

    def output(self, matrix: np.ndarray) -> np.ndarray:
        """The same as the graph's `y`, computed by scikit-learn, float64."""
        if self.class_weights is None:
            predicted = np.clip(self.pipeline.predict(matrix), *self.bounds)
            return np.expm1(predicted) if self.log else predicted
        weighted = self.pipeline.predict_proba(matrix) @ self.class_weights
        probabilities = weighted / weighted.sum(axis=1, keepdims=True)
        return self.calibration(probabilities) if self.calibration else probabilities

    def graph(self, features: int) -> ModelProto:
        """Raises `ModelError` when a step of the pipeline doesn't convert."""
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType
        from sklearn.base import is_classifier

        _register_converters()
        options = {id(self.pipeline): {"zipmap": False}} if is_classifier(self.pipeline) else None
        try:
            model = convert_sklearn(
                self.pipeline,
                initial_types=[("x", FloatTensorType([None, features]))],
                target_opset=OPSETS,
                options=options,
            )
        except Exception as error:  # converters raise a class of their own for each kind of fault
            reason = first_line(error, 200)
            raise ModelError(f"refused: the pipeline doesn't convert to ONNX: {reason}") from error
        if self.class_weights is None:
            return _serve(model, self._regression_tail())
        return _serve(model, self._classes_tail(self.class_weights))

    def _regression_tail(self) -> list[_Node]:
        low, high = self.bounds
        tail: list[_Node] = [("Reshape", np.array([-1], dtype=np.int64))]
        if low > -math.inf:
            tail.append(("Max", np.float32(low)))
        if high < math.inf:
            tail.append(("Min", np.float32(high)))
        return [*tail, ("Exp",), ("Sub", np.float32(1))] if self.log else tail

    def _classes_tail(self, class_weights: np.ndarray) -> list[_Node]:
        tail: list[_Node] = [("MatMul", class_weights.astype(np.float32)), ("Normalize",)]
        if self.calibration:
            weights, bias = (
                array.astype(np.float32) for array in (self.calibration.weights, self.calibration.bias)
            )
            tail += [("Max", np.float32(EDGE)), ("Min", np.float32(1 - EDGE)), ("Log",)]
            tail += [("MatMul", weights), ("Add", bias), ("Softmax",)]
        return tail


def single(pipeline: Any) -> Any:
    """The fitted pipeline, whose target encodings are changed to the nearest float32, as the graph has them.

    Otherwise a split between an encoding and its float32 sends all rows of a category the other way: often enough,
    because splits lie between the encodings of the folds, and the encoding of all rows does, too.
    """
    from sklearn.preprocessing import TargetEncoder

    for transformer in getattr(pipeline.steps[0][1], "named_transformers_", {}).values():
        if isinstance(transformer, TargetEncoder):
            encodings = [values.astype(np.float32) for values in transformer.encodings_]
            transformer.encodings_ = [values.astype(np.float64) for values in encodings]
            transformer.target_mean_ = float(np.float32(transformer.target_mean_))
    return pipeline


def check(
    model: ModelProto, fitted: Fitted, matrix: np.ndarray, truth: np.ndarray, metric: Metric
) -> np.ndarray:
    """The graph's output on holdout rows, after a check that it equals the pipeline's.

    matrix: encoded holdout rows, float32 (n, features); truth: their target, float (n,).
    Raises `ModelError` unless both agree to 1e-4 on 99.9 % of the rows (relative to the prediction, or to the row's
    largest probability) and the metric to 4 digits.
    """
    expected, found = fitted.output(matrix), OnnxGraph(model.SerializeToString()).run(matrix)
    if found.shape != expected.shape:
        raise ModelError(f"refused: ONNX gives {found.shape}, the pipeline {expected.shape}")
    gap, size = np.abs(found - expected), np.abs(expected)
    if expected.ndim == 2:
        gap, size = gap.max(axis=1), size.max(axis=1)
    else:
        # Near 0 a relative difference means nothing, so the size is at least a thousandth of the median prediction.
        size = np.maximum(size, 1e-3 * np.median(size))
    # Written so that NaN counts as different.
    differs = ~(gap <= TOLERANCE * size)
    if differs.mean() > 1 - MIN_EQUAL:
        raise ModelError(
            f"refused: ONNX differs from the pipeline on {differs.mean():.2%} of {len(matrix)} holdout rows "
            f"(by {np.nanmax(gap):.2g} at most); leave out the step that doesn't convert"
        )
    served, fitted_score = metric(truth, found), metric(truth, expected)
    # The metric of a nearly perfect model is near 0: it is then compared relative to a constant's metric.
    size = abs(metric(truth, np.full(len(truth), truth.mean()))) if expected.ndim == 1 else 1e-3
    if not math.isclose(served, fitted_score, rel_tol=TOLERANCE, abs_tol=TOLERANCE * size):
        raise ModelError(
            f"refused: {metric.name} is {served:.6g} by ONNX but {fitted_score:.6g} by the pipeline"
        )
    return found


def save(model: ModelProto, contract: Contract, folder: Path) -> None:
    """Writes `model.onnx`, `contract.json` and MLflow's `MLmodel` into a new folder."""
    import mlflow.onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = (-1,) if contract.task == "regression" else (-1, len(contract.classes))
    mlflow.onnx.save_model(
        model,
        str(folder),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(contract.features)), "x")]),
            outputs=Schema([TensorSpec(np.dtype("float32"), shape, "y")]),
        ),
        # MLflow would take ten seconds to infer them.
        pip_requirements=["mlflow", "onnx", "onnxruntime", "numpy"],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    contract.save(folder)


def _serve(model: ModelProto, tail: list[_Node]) -> ModelProto:
    """The converted model with `y` as its only output: its last output, followed by the tail's nodes."""
    # The last output of a classifier is the probabilities; the label before it is left out.
    source = model.graph.output[-1]
    model = Extractor(model).extract_model(["x"], [source.name])
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    latest = source.name
    for index, (kind, *operand) in enumerate(tail):
        names = [f"served_{index}_{number}" for number in range(len(operand))]
        constants += [numpy_helper.from_array(np.asarray(v), n) for v, n in zip(operand, names, strict=True)]
        out = "y" if index == len(tail) - 1 else f"served_{index}"
        if kind == "Normalize":
            # Each row sums to 1.
            axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "served_axis")
            constants.append(axis)
            nodes.append(helper.make_node("ReduceSum", [latest, axis.name], ["served_sum"], keepdims=1))
            nodes.append(helper.make_node("Div", [latest, "served_sum"], [out]))
        else:
            nodes.append(helper.make_node(kind, [latest, *names], [out]))
        latest = out
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    del model.graph.output[:]
    width = (None,) if tail[0][0] == "Reshape" else (None, tail[0][1].shape[1])
    model.graph.output.append(_value("y", width))
    # The converter names it by chance, and the same training must give the same bytes.
    model.graph.name = "mlops_lab"
    return _model(model.graph)


def _model(graph: onnx.GraphProto) -> ModelProto:
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="mlops_lab", ir_version=9)
    onnx.checker.check_model(model)
    return model


def _value(name: str, shape: tuple[int | None, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _register_converters() -> None:
    """Converters that skl2onnx lacks: LightGBM, and the indicator of missing numbers."""
    from lightgbm import LGBMClassifier, LGBMRegressor
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )
    from sklearn.impute import MissingIndicator

    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    update_registered_converter(
        LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        _convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"], "raw_scores": [True, False]},
    )
    update_registered_converter(
        LGBMRegressor,
        "LightGbmLGBMRegressor",
        calculate_linear_regressor_output_shapes,
        _convert_lightgbm,
        options={"split": None},
    )
    update_registered_converter(MissingIndicator, "LabMissingIndicator", _missing_shape, _convert_missing)


def _convert_lightgbm(scope: Any, operator: Any, container: Any) -> None:
    """onnxmltools' converter, with split points rounded down to float32.

    A row goes left when x <= split. For a float32 x this doesn't change when the split is rounded down. The converter
    rounds to the nearest, so a split may move up to the next value, which then goes left, too.
    """
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    add_node = container.add_node

    def add_exact(kind: str, inputs: Any, outputs: Any, **attributes: Any) -> Any:
        if kind.startswith("TreeEnsemble"):
            splits = np.array(attributes["nodes_values"], dtype=np.float64)
            # LightGBM writes "any value that isn't missing" as a split at 1e300.
            with np.errstate(over="ignore"):
                rounded = splits.astype(np.float32)
            above = rounded > splits
            rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
            attributes["nodes_values"] = rounded.tolist()
        return add_node(kind, inputs, outputs, **attributes)

    container.add_node = add_exact
    try:
        convert_lightgbm(scope, operator, container)
    finally:
        container.add_node = add_node


def _missing_shape(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    operator.outputs[0].type = FloatTensorType([None, len(operator.raw_operator.features_)])


def _convert_missing(scope: Any, operator: Any, container: Any) -> None:
    source = operator.inputs[0].full_name
    flags = scope.get_unique_variable_name("is_missing")
    container.add_node("IsNaN", [source], flags, name=scope.get_unique_operator_name("IsNaN"), op_version=13)
    container.add_node(
        "Cast",
        [flags],
        operator.outputs[0].full_name,
        to=TensorProto.FLOAT,
        name=scope.get_unique_operator_name("Cast"),
        op_version=13,
    )
