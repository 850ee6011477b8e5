"""An ONNX graph that runs: the one session that export, the service and the pipeline share."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from mlops_lab.contract import MAX_GRAPH_BYTES
from mlops_lab.errors import ModelError, first_line

# Bounds the memory of one-hot columns in a large batch.
ROWS_A_RUN = 4096

# ONNX Runtime writes its warnings to stderr as plain text.
onnxruntime.set_default_logger_severity(3)


class OnnxGraph:
    """A graph with the input `x`, float32 (n, features), and the output `y`. Threads may share it."""

    def __init__(self, graph: bytes | Path):
        """Raises `ModelError` when the graph is too large, or ONNX Runtime can't load it."""
        size = len(graph) if isinstance(graph, bytes) else graph.stat().st_size
        if size > MAX_GRAPH_BYTES:
            raise ModelError(
                f"its graph has {size / 2**20:.0f} MiB, and the service has memory for one of at most "
                f"{MAX_GRAPH_BYTES // 2**20}; train a smaller model"
            )
        options = onnxruntime.SessionOptions()
        # One row takes microseconds, so more threads would cost time. Requests already run in parallel.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # An arena would keep the memory of the largest batch that was ever sent.
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(
                graph if isinstance(graph, bytes) else str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises a class of its own for each kind of fault
            raise ModelError(f"ONNX Runtime can't load its graph: {first_line(error)}") from error

    def check(self, features: int) -> None:
        """Raises `ModelError` unless the graph has the one input for so many features, and the one output."""
        inputs = [(i.name, i.type, i.shape[1:]) for i in self._session.get_inputs()]
        expected = [[("x", "tensor(float)", width)] for width in ([features], [None])]
        if inputs not in expected:
            raise ModelError(f"its graph must have one input x, float32 (n, {features}), not {inputs}")
        outputs = [o.name for o in self._session.get_outputs()]
        if outputs != ["y"]:
            raise ModelError(f"its graph must have one output y, not {', '.join(outputs)}")

    def run(self, matrix: np.ndarray) -> np.ndarray:
        """`y` for an encoded matrix, float32 (n, features): (n,), or (n, classes) probabilities."""
        if len(matrix) <= ROWS_A_RUN:
            return self._run(matrix)
        starts = range(0, len(matrix), ROWS_A_RUN)
        return np.concatenate([self._run(matrix[i : i + ROWS_A_RUN]) for i in starts])

    def run_within(self, seconds: float, matrix: np.ndarray) -> np.ndarray:
        """`y` for a small matrix. Raises `ModelError` when that takes longer; the computation is then ended."""
        options = onnxruntime.RunOptions()
        timer = threading.Timer(seconds, setattr, (options, "terminate", True))
        timer.start()
        try:
            return self._run(matrix, options)
        except Exception as error:
            if options.terminate:
                raise ModelError(
                    f"its graph takes longer than {seconds:g} s for {len(matrix)} rows"
                ) from error
            raise
        finally:
            timer.cancel()

    def _run(self, matrix: np.ndarray, options: onnxruntime.RunOptions | None = None) -> np.ndarray:
        found: Any = self._session.run(["y"], {"x": matrix}, options)[0]
        return found
