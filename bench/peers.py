"""The servers that the bench compares, each with one process for its requests.

- lab:      the service as shipped: the rows are checked, logged, counted and compared with the training rows for drift.
- arrow, csv, v2: the same service, asked in other forms.
- constant: a FastAPI route that parses the body and answers a constant. No service in Python can cost much less.
- asgi:     a bare ASGI application that answers a constant.
- pandas:   what people write: FastAPI, a pydantic model, a DataFrame, a pickled pipeline.
- mlflow:   `mlflow models serve` of the same pipeline.
- one_hot:  the same of a pipeline with one-hot categories and trees of its own.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import orjson

from inference.arrow import ARROW, write
from inference.body import CSV
from mlops_lab.contract import Contract
from mlops_lab.local.processes import Process, free_ports
from mlops_lab.tabular import csv_lines

_UVICORN = """
import sys, uvicorn
def serve(app):
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="error")
"""
_CONSTANT = """
from fastapi import FastAPI, Request
app = FastAPI()
@app.post("/")
async def constant(request: Request):
    await request.json()
    return {"predictions": [True]}
serve(app)
"""
_ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})
serve(app)
"""
_PANDAS = """
import json, pickle
import pandas
from fastapi import FastAPI
from pydantic import create_model
pipeline = pickle.load(open(sys.argv[2], "rb"))
types = json.loads(sys.argv[3])
Row = create_model("Row", **{name: (int if kind == "integer" else str, ...) for name, kind in types.items()})
Rows = create_model("Rows", rows=(list[Row], ...))
app = FastAPI()
@app.post("/")
def predict(body: Rows):
    frame = pandas.DataFrame([row.model_dump() for row in body.rows])
    return {"probabilities": pipeline.predict_proba(frame)[:, 1].tolist()}
serve(app)
"""


@dataclass(frozen=True)
class Peer:
    """A server, and how it is asked.

    request: the body for raw rows.
    answer:  the probabilities in a reply's body, one a row; None when it answers a constant.
    same:    whether they must equal the lab's.
    label:   its name where a server is asked in two ways.
    only_many: it isn't asked for one row.
    """

    process: Process
    path: str
    request: Callable[[list[dict[str, Any]]], bytes]
    answer: Callable[[bytes], list[float]] | None
    content_type: str = "application/json"
    same: bool = True
    label: str = ""
    only_many: bool = False

    @property
    def name(self) -> str:
        return self.label or self.process.name


def peers(contract: Contract, pipeline: Any, one_hot: Any, home: Path) -> list[Peer]:
    """Every server of the comparison. `home` has the lab's champion; the other models are written there.

    pipeline: the lab's trees, for a DataFrame. one_hot: a pipeline of its own trees.
    """
    pickled = home / "pipeline.pickle"
    pickled.write_bytes(cloudpickle.dumps(pipeline))
    types = orjson.dumps({feature.name: feature.type for feature in contract.features}).decode()
    lab, constant, asgi, pandas, mlflow, other = free_ports(6)
    shipped = lab_process("lab", home, lab)
    return [
        Peer(shipped, "/predict", _lab_rows, _lab_answer),
        Peer(shipped, "/predict", _arrow_rows, _lab_answer, ARROW, label="arrow", only_many=True),
        Peer(shipped, "/predict", _csv_rows, _lab_answer, CSV, label="csv", only_many=True),
        Peer(shipped, "/v2/models/bench/infer", _tensors, _tensor_answer, label="v2"),
        Peer(_python("constant", _CONSTANT, constant), "/", _lab_rows, None),
        Peer(_python("asgi", _ASGI, asgi), "/", _lab_rows, None),
        Peer(_python("pandas", _PANDAS, pandas, pickled, types), "/", _all_rows, _pandas_answer),
        _mlflow("mlflow", pipeline, home, mlflow, same=True),
        _mlflow("one_hot", one_hot, home, other, same=False),
    ]


def lab_process(name: str, home: Path, port: int, code: str = "") -> Process:
    """The prediction service, or a variant of it that this code starts."""
    # Each replica has a subfolder of the spool, but the models are downloaded to one folder.
    variables = {
        "LAB_HOME": str(home),
        "LAB_DEFAULT_USE_CASE": "bench",
        "LAB_INFERENCE_MODELS": str(home / f"models-{name}"),
    }
    command = [sys.executable, *(["-c", code] if code else ["-m", "inference"]), "--port", str(port)]
    return Process(name, command, variables, _url(port), "/ready")


def _python(name: str, code: str, port: int, *arguments: Any) -> Process:
    command = [sys.executable, "-c", _UVICORN + code, str(port), *map(str, arguments)]
    return Process(name, command, url=_url(port), health="/docs")


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _mlflow(name: str, pipeline: Any, home: Path, port: int, same: bool) -> Peer:
    import mlflow.sklearn

    model = str(home / name)
    mlflow.sklearn.save_model(
        pipeline, model, pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle"
    )
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", model, "--port", str(port)]
    # It starts uvicorn by name.
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = Process(name, command, path, _url(port))
    return Peer(process, "/invocations", _split_rows, _mlflow_answer, same=same)


def _lab_rows(rows: list[dict[str, Any]]) -> bytes:
    return orjson.dumps(rows[0]) if len(rows) == 1 else _all_rows(rows)


def _arrow_rows(rows: list[dict[str, Any]]) -> bytes:
    return write({name: [row[name] for row in rows] for name in rows[0]}, ARROW)


def _csv_rows(rows: list[dict[str, Any]]) -> bytes:
    return csv_lines({name: [row[name] for row in rows] for name in rows[0]})


def _tensors(rows: list[dict[str, Any]]) -> bytes:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    inputs = [
        {
            "name": name,
            "datatype": "BYTES" if isinstance(values[0], str) else "INT64",
            "shape": [len(values)],
            "data": values,
        }
        for name, values in columns.items()
    ]
    return orjson.dumps({"inputs": inputs})


def _all_rows(rows: list[dict[str, Any]]) -> bytes:
    return orjson.dumps({"rows": rows})


def _split_rows(rows: list[dict[str, Any]]) -> bytes:
    data = [list(row.values()) for row in rows]
    return orjson.dumps({"dataframe_split": {"columns": list(rows[0]), "data": data}})


def _lab_answer(body: bytes) -> list[float]:
    return [found["true"] for found in orjson.loads(body)["probabilities"]]


def _tensor_answer(body: bytes) -> list[float]:
    outputs = {output["name"]: output["data"] for output in orjson.loads(body)["outputs"]}
    return outputs["probabilities"][1::2]


def _pandas_answer(body: bytes) -> list[float]:
    return orjson.loads(body)["probabilities"]


def _mlflow_answer(body: bytes) -> list[float]:
    return [found[1] for found in orjson.loads(body)["predictions"]]
