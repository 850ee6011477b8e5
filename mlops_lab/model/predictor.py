"""One loaded model: raw rows in, predictions out, by ONNX Runtime and the model's own contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from mlops_lab.contract import CONTRACT_FILE, MODEL_FILE, Contract
from mlops_lab.errors import ContractError, ModelError, first_line
from mlops_lab.model.interval import limits
from mlops_lab.model.onnx_graph import OnnxGraph

# Seconds that the prediction of one or two rows may take before a model is served.
CHECK_SECONDS = 10.0


@dataclass(frozen=True)
class Predicted:
    """The predictions for n rows.

    values:        regression: numbers in the target's unit; binary: true or false by the contract's threshold;
                   multiclass: the most probable class.
    probabilities: classifiers: for each row, one number for each class of the contract's `classes`; else None.
    """

    values: list[float] | list[bool] | list[str]
    probabilities: list[list[float]] | None


class Predictor:
    """A model that is ready to predict. It has no mutable state, so threads may share it."""

    def __init__(self, contract: Contract, graph: bytes | Path):
        """Raises `ModelError` when the graph isn't one that ONNX Runtime can run with this contract."""
        self.contract = contract
        try:
            self._graph = OnnxGraph(graph)
            self._graph.check(len(contract.features))
        except ModelError as error:
            raise ModelError(f"{self._name}: {error}") from error
        if contract.task != "regression" and len(contract.classes) < 2:
            raise ModelError(f"{self._name}: its contract names no classes")

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """The model in a folder of `model.onnx` and `contract.json`.

        Raises `ModelError` when one is missing, broken, or doesn't fit the other.
        """
        try:
            contract = Contract.load(folder)
        except OSError as error:
            raise ModelError(
                f"the model's folder has no readable {CONTRACT_FILE}: {error.strerror}"
            ) from error
        except (ValidationError, UnicodeDecodeError) as error:
            raise ModelError(f"{CONTRACT_FILE} isn't a contract: {_contract_fault(error)}") from error
        if not (graph := folder / MODEL_FILE).is_file():
            raise ModelError(f"the model's folder has no {MODEL_FILE}")
        return cls(contract, graph)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Predicted:
        """Predictions for raw rows (JSON types).

        Raises `ContractError` when a row doesn't keep the contract, `ModelError` when the model gives no finite number.
        """
        return self.predict_encoded(self.contract.encode(self.contract.read(rows)))

    def predict_encoded(self, matrix: np.ndarray) -> Predicted:
        """Predictions for encoded rows, float32 (n, features). Raises `ModelError` as `predict` does."""
        return self._predicted(self.run(matrix))

    def _predicted(self, y: np.ndarray) -> Predicted:
        if not np.isfinite(y).all():
            raise ModelError(f"{self._name} gave no finite number for a row that keeps its contract")
        if self.contract.task == "regression":
            return Predicted(y.tolist(), None)
        if self.contract.task == "binary":
            threshold = 0.5 if self.contract.threshold is None else self.contract.threshold
            return Predicted((y[:, 1] >= threshold).tolist(), y.tolist())
        classes = self.contract.classes
        return Predicted([classes[i] for i in y.argmax(axis=1)], y.tolist())

    def intervals(self, values: Sequence[Any]) -> list[list[float]] | None:
        """[low, high] for each prediction, in the target's unit; None when the model has no intervals."""
        found = limits(self.contract, values)
        return None if found is None else found.tolist()

    def run(self, matrix: np.ndarray) -> np.ndarray:
        """The graph's `y` for an encoded matrix, float32 (n, features): (n,), or (n, classes) probabilities."""
        return self._graph.run(matrix)

    @cached_property
    def background(self) -> np.ndarray:
        """The rows that explanations compare with, float32 (m, features); the example when the contract has none."""
        if self.contract.background:
            background = np.array(self.contract.background, dtype=np.float32)
            return background.reshape(-1, len(self.contract.features))
        return self.contract.encode(self.contract.read([self.contract.example]))

    def check_example(self) -> None:
        """Predicts the contract's example.

        Raises `ModelError` when that gives no finite value of the right shape, or takes too long.
        """
        try:
            typed = self.contract.read([self.contract.example])
        except ContractError as error:
            raise ModelError(f"{self._name}: its own example breaks its contract: {error}") from error
        matrix = self.contract.encode(typed)
        classes = len(self.contract.classes)
        # Two rows as well, since a graph may give the right shape for one row by chance.
        for n in (2, 1):
            try:
                y = self._graph.run_within(CHECK_SECONDS, np.repeat(matrix, n, axis=0))
            except Exception as error:
                raise ModelError(f"{self._name} can't predict its example: {first_line(error)}") from error
            expected = (n,) if self.contract.task == "regression" else (n, classes)
            if y.dtype != np.float32 or y.shape != expected:
                raise ModelError(f"{self._name}: y must be float32 {expected}, not {y.dtype} {y.shape}")
        self._predicted(y)

    @property
    def _name(self) -> str:
        return f"the model of {self.contract.use_case}"


def _contract_fault(error: ValidationError | UnicodeDecodeError) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}"
    return first_line(error)
