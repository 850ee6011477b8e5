"""The Open Inference Protocol, version 2, with its extension for binary tensors.

https://github.com/kserve/open-inference-protocol. A model has one input for each field, of shape (n) or (n, 1), and the
outputs `prediction`, `prediction_id` and, for classifiers, `probabilities`; regression has `interval` as well, for a
request that names it. Null is NaN in a tensor of floats and the empty text in one of BYTES. Of a model's versions only
the served one answers.
"""

from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter
from starlette.responses import Response
from starlette.routing import Route

from inference.body import JSON
from inference.endpoint import Call, Endpoint, Reply
from inference.errors import UnknownVersion, describe, refusal
from inference.loaded import Champion
from inference.predict import INTERVAL, predict_columns
from inference.service import Service
from inference.tensors import BINARY, HEADER_LENGTH, input_type, output_tensors, read_request
from inference.trials import answering
from mlops_lab.contract import Contract

PREFIX = "/v2"
_MODELS = ("/v2/models/{use_case}", "/v2/models/{use_case}/versions/{version}")


def infer_routes(service: Service) -> list[Route]:
    """`POST …/infer`, which is counted as a request to a model."""
    # A common client sends no content type.
    types = (JSON, BINARY, "")
    infer = Endpoint(service, "infer", respond, quick=types, accepted=types, refuse=refuse)
    return [Route(f"{path}/infer", infer, methods=["POST"]) for path in _MODELS]


def router(service: Service) -> APIRouter:
    """What the server and its models are."""
    routes = APIRouter(tags=["Open Inference Protocol"])

    @routes.get("/v2", summary="The server and its extensions")
    async def server() -> dict[str, Any]:
        return {"name": "mlops-lab", "version": "1", "extensions": ["binary_tensor_data"]}

    @routes.get("/v2/health/live", summary="Whether the process is alive")
    async def live() -> dict[str, Any]:
        return {"live": True}

    @routes.get("/v2/health/ready", summary="Whether the champions are served", responses=_ERRORS)
    async def ready() -> dict[str, Any]:
        service.champions.check_ready()
        return {"ready": True}

    @routes.get(_MODELS[0], summary="Inputs and outputs of a model", responses=_ERRORS)
    async def model(use_case: str) -> dict[str, Any]:
        return _metadata(service.champions.get(use_case))

    @routes.get(_MODELS[1], summary="The same for the served version", responses=_ERRORS)
    async def version_of_model(use_case: str, version: str) -> dict[str, Any]:
        return _metadata(_served(service, use_case, version))

    @routes.get(f"{_MODELS[0]}/ready", summary="Whether a model is served", responses=_ERRORS)
    async def model_ready(use_case: str) -> dict[str, Any]:
        return {"name": service.champions.get(use_case).use_case, "ready": True}

    @routes.get(f"{_MODELS[1]}/ready", summary="Whether this version is served", responses=_ERRORS)
    async def version_ready(use_case: str, version: str) -> dict[str, Any]:
        return {"name": _served(service, use_case, version).use_case, "ready": True}

    return routes


def respond(service: Service, call: Call) -> Reply:
    """Predicts the rows of a request's tensors. Raises as `/predict` does, and `UnknownVersion`."""
    limit = service.settings.inference_max_rows
    request, columns = read_request(call.body, call.header(HEADER_LENGTH), limit)
    version = call.path.get("version")
    served = _served(service, call.use_case, version)
    found = predict_columns(service, served if version else answering(served, call), call, columns)
    champion, contract = found.champion, found.champion.contract
    values: dict[str, tuple[str, np.ndarray]] = {
        "prediction": (_output_type(contract), np.array(found.values)),
        "prediction_id": ("BYTES", np.array(found.ids)),
    }
    if found.probabilities is not None:
        table = [list(row.values()) for row in found.probabilities]
        values["probabilities"] = ("FP64", np.array(table))
    if any(output.name == INTERVAL for output in request.outputs or ()):
        # A model without intervals doesn't have this output.
        limits = champion.predictor.intervals(found.values)
        if limits is not None:
            values[INTERVAL] = ("FP64", np.array(limits))
    outputs, binary = output_tensors(request, values)
    content: dict[str, Any] = {
        "model_name": champion.use_case,
        "model_version": champion.label,
        "outputs": outputs,
        "parameters": {"processing_ms": call.milliseconds()},
    }
    if request.id is not None:
        content["id"] = request.id
    if not binary:
        return Reply(champion, content, len(found.ids), entries=found.entries)
    head = orjson.dumps(content)
    length = ((HEADER_LENGTH, str(len(head))),)
    body = head + binary
    return Reply(champion, body, len(found.ids), content_type=BINARY, headers=length, entries=found.entries)


def refuse(error: Exception) -> Response:
    """The reply to a request that raised this error, in the protocol's form: one text."""
    status, _, headers, content = describe(error)
    detail = content["detail"]
    if isinstance(detail, list):
        texts = [f"row {p['row']}, {p['field'] or 'the row'}: {p['message']}" for p in detail]
        detail = "; ".join(texts) + ("; there may be more" if "more" in content else "")
    return Response(orjson.dumps({"error": detail}), status, headers, "application/json")


def refusal_at(path: str, error: Exception) -> Response:
    """The reply to a request of this path that raised this error."""
    return refuse(error) if path.startswith(f"{PREFIX}/") else refusal(error)


def _served(service: Service, use_case: str, version: str | None) -> Champion:
    """Raises `UnknownVersion` when another version is served, and what `Champions.get` raises."""
    champion = service.champions.get(use_case)
    if version is not None and version != champion.label:
        raise UnknownVersion(
            f"version {version[:20]} of {use_case} is not served; version {champion.label} is"
        )
    return champion


def _metadata(champion: Champion) -> dict[str, Any]:
    contract = champion.contract
    outputs: list[dict[str, Any]] = [
        {"name": "prediction", "datatype": _output_type(contract), "shape": [-1]},
        {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]},
    ]
    if contract.classes:
        classes = len(contract.classes)
        output = {"name": "probabilities", "datatype": "FP64", "shape": [-1, classes]}
        outputs.append(output | {"parameters": {"classes": contract.classes}})
    if contract.interval:
        # Only given when a request names it.
        outputs.append({"name": INTERVAL, "datatype": "FP64", "shape": [-1, 2]})
    return {
        "name": champion.use_case,
        "versions": [champion.label],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": f.name, "datatype": input_type(f), "shape": [-1]} for f in contract.features],
        "outputs": outputs,
    }


def _output_type(contract: Contract) -> str:
    return {"regression": "FP64", "binary": "BOOL"}.get(contract.task, "BYTES")


_ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such model or version", "content": {"application/json": {}}},
    503: {"description": "No model is served yet", "content": {"application/json": {}}},
}
