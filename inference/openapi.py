"""The OpenAPI document, built from the contracts of the served champions."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from inference.access import right_for
from inference.champions import Champions
from inference.feedback import MAX_KEYS
from inference.loaded import Champion
from inference.openapi_replies import REF, explanation, predictions
from inference.tensors import TYPES, input_type
from mlops_lab.contract import Contract
from mlops_lab.features import TEXT_LIMIT


class LiveOpenApi:
    """Called for `/openapi.json`. Each champion has its own paths, `/predict/{name}` and `/explain/{name}`."""

    def __init__(self, app: FastAPI, champions: Champions, default: str, keys: bool):
        """keys: whether the service requires API keys."""
        self._app = app
        self._champions = champions
        self._default = default
        self._keys = keys
        self._built: tuple[int, dict[str, Any]] | None = None

    def __call__(self) -> dict[str, Any]:
        generation = self._champions.generation
        if self._built is None or self._built[0] != generation:
            self._built = generation, self._build()
        return self._built[1]

    def _build(self) -> dict[str, Any]:
        document = get_openapi(
            title=self._app.title,
            version=self._app.version,
            description=self._app.description,
            routes=self._app.routes,
        )
        paths = document["paths"]
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {"Problems": _PROBLEMS, "Refusal": REFUSAL, "Model": _MODEL}
        served = self._champions.served()
        for champion in served:
            name, contract = champion.use_case, champion.contract
            schemas[name] = contract.json_schema()
            schemas[f"{name}_predictions"] = predictions(contract)
            schemas[f"{name}_explanation"] = explanation(contract)
            paths[f"/predict/{name}"] = {"post": _predict(champion, f"predict_{name}")}
            paths[f"/explain/{name}"] = {"post": _explain(champion)}
            paths[f"/v2/models/{name}/infer"] = {"post": _infer(champion)}
            paths[f"/invocations/{name}"] = {"post": _invocations(champion)}
            if name == self._default:
                paths["/predict"] = {"post": _predict(champion, "predict")}
        for path, operations in paths.items():
            if "{use_case}" in path:
                for parameter in operations["get"]["parameters"]:
                    if parameter["name"] == "use_case" and served:
                        parameter["schema"]["examples"] = [champion.use_case for champion in served]
        paths["/feedback"] = {"post": _feedback([c.contract for c in served], self._default)}
        if self._keys:
            _require_keys(document)
        return document


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The replies with these statuses, for a route of FastAPI."""
    return {status: _ERRORS[str(status)] for status in statuses}


def _require_keys(document: dict[str, Any]) -> None:
    """Says at each route that requires an API key that it does, and with which right."""
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    errors = {"401": "The API key is missing or unknown", "403": "The API key has no right to {right}"}
    for path, operations in document["paths"].items():
        if (right := right_for(path)) is None:
            continue
        for operation in operations.values():
            operation["security"] = [{"key": []}]
            refused = {
                s: {"description": text.format(right=right), **_ANY_JSON} for s, text in errors.items()
            }
            operation["responses"] = operation["responses"] | refused


def _predict(champion: Champion, operation: str) -> dict[str, Any]:
    name, contract = champion.use_case, champion.contract
    row = {"$ref": f"{REF}{name}"}
    many = {
        "type": "object",
        "required": ["rows"],
        "additionalProperties": False,
        "properties": {"rows": {"type": "array", "minItems": 1, "items": row}},
    }
    return {
        "tags": ["predict"],
        "operationId": operation,
        "summary": f"{contract.title} (version {champion.label})",
        "description": contract.description,
        "parameters": [_INTERVAL],
        "requestBody": _body({"oneOf": [row, many]}, contract.example),
        "responses": {
            "200": _reply("Predictions, in the order of the rows", f"{name}_predictions"),
            **_PREDICT_ERRORS,
        },
    }


def _infer(champion: Champion) -> dict[str, Any]:
    name, contract = champion.use_case, champion.contract
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"type": "string", "enum": [feature.name for feature in contract.features]},
            "datatype": {"type": "string", "enum": list(TYPES)},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
        },
    }
    inputs = {"type": "array", "minItems": 1, "items": tensor}
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": inputs, "id": {"type": ["string", "null"]}},
    }
    example = [
        {"name": f.name, "datatype": input_type(f), "shape": [1], "data": [f.example]}
        for f in contract.features
    ]
    return {
        "tags": ["Open Inference Protocol"],
        "operationId": f"infer_{name}",
        "summary": f"{contract.title} (version {champion.label})",
        "description": "One input for each field. Tensors may also follow in binary form.",
        "requestBody": _body(schema, {"inputs": example}),
        "responses": {
            "200": {"description": "Outputs", **_ANY_JSON},
            **_INFER_ERRORS,
        },
    }


def _invocations(champion: Champion) -> dict[str, Any]:
    name, contract = champion.use_case, champion.contract
    row = {"$ref": f"{REF}{name}"}
    rows = {"type": "array", "minItems": 1, "items": row}
    schema = {"type": "object", "required": ["dataframe_records"], "properties": {"dataframe_records": rows}}
    return {
        "tags": ["predict"],
        "operationId": f"invocations_{name}",
        "summary": f"The same for clients of MLflow's scoring server: {contract.title}",
        "description": "Also `dataframe_split`, `inputs`, `instances`, and CSV with a header.",
        "parameters": [_INTERVAL],
        "requestBody": _body(schema, {"dataframe_records": [contract.example]}),
        "responses": {
            "200": {"description": "Predictions", **_ANY_JSON},
            **_PREDICT_ERRORS,
        },
    }


def _explain(champion: Champion) -> dict[str, Any]:
    name, contract = champion.use_case, champion.contract
    operation: dict[str, Any] = {
        "tags": ["predict"],
        "operationId": f"explain_{name}",
        "summary": f"What moved a prediction: {contract.title}",
        "description": "The row is neither logged nor counted for drift.",
        "parameters": [_INTERVAL, _curve(contract)],
        "requestBody": _body({"$ref": f"{REF}{name}"}, contract.example),
        "responses": {"200": _reply("Contributions of the fields", f"{name}_explanation"), **_PREDICT_ERRORS},
    }
    if contract.classes:
        asked = {"type": "string", "enum": contract.classes}
        about = "the class whose probability is explained; by default true (binary) or the predicted class"
        operation["parameters"].append(
            {"name": "class", "in": "query", "schema": asked, "description": about}
        )
    return operation


def _curve(contract: Contract) -> dict[str, Any]:
    asked = {"type": "string", "enum": [feature.name for feature in contract.features]}
    about = "a field, to have the predictions for its other values as well"
    return {"name": "curve", "in": "query", "schema": asked, "description": about}


def _feedback(contracts: list[Contract], default: str) -> dict[str, Any]:
    bodies = [_feedback_body(contract, contract.use_case == default) for contract in contracts]
    return {
        "tags": ["predict"],
        "operationId": "feedback",
        "summary": "The ground truth of an earlier prediction",
        "requestBody": _body({"oneOf": bodies} if bodies else {"type": "object"}, None),
        "responses": {
            "202": {"description": "Accepted; it is stored and will be moved to the database"},
            **_PREDICT_ERRORS,
        },
    }


def _feedback_body(contract: Contract, default: bool) -> dict[str, Any]:
    value = {"type": ["string", "number", "boolean", "null"], "maxLength": TEXT_LIMIT}
    return {
        "type": "object",
        "required": ["prediction_id", "actual", *([] if default else ["use_case"])],
        "additionalProperties": False,
        "properties": {
            "use_case": {"type": "string", "enum": [contract.use_case]},
            "prediction_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "actual": contract.target.model_copy(update={"required": True}).json_schema(),
            "group_key": {
                "type": ["object", "null"],
                "description": "column name to value; without it the row never becomes training data",
                "minProperties": 1,
                "maxProperties": MAX_KEYS,
                "propertyNames": {"maxLength": TEXT_LIMIT},
                "additionalProperties": value,
            },
        },
    }


def _body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"required": True, "content": {"application/json": content}}


def _reply(description: str, schema: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"{REF}{schema}"}}},
    }


_INTERVAL = {
    "name": "interval",
    "in": "query",
    "schema": {"type": "boolean"},
    "description": "with prediction intervals; a model without them (classifiers, versions of an earlier release) "
    "answers null",
}
_MODEL = {"type": "object", "properties": {"name": {"type": "string"}, "version": {"type": "integer"}}}
REFUSAL = {"type": "object", "properties": {"detail": {"type": "string"}}}
_PROBLEMS = {
    "type": "object",
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": "integer"},
                    "field": {"type": "string"},
                    "rule": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
        "shown": {"type": "integer", "description": "only when the check stopped early: how many are listed"},
        "more": {"type": "string", "description": "only then: says that there may be more"},
    },
}
_ERRORS = {
    "400": _reply("The body is not JSON", "Refusal"),
    "401": _reply("The token is missing or wrong", "Refusal"),
    "403": _reply("It is off, because no token or key is set", "Refusal"),
    "404": _reply("No such use case, category or prediction", "Refusal"),
    "413": _reply("Too many rows or bytes", "Refusal"),
    "415": _reply("A content type that the route doesn't take", "Refusal"),
    "422": _reply("A row or a parameter breaks its rule: field, rule and message of each fault", "Problems"),
    "503": _reply(
        "No model yet, too busy, or the registry or database does not answer; try again after Retry-After seconds",
        "Refusal",
    ),
}
_ANY_JSON: dict[str, Any] = {"content": {"application/json": {}}}
_INFER_ERRORS = {
    status: {"description": _ERRORS[status]["description"], **_ANY_JSON}
    for status in ("400", "404", "413", "415", "422", "503")
}
_PREDICT_ERRORS = {status: _ERRORS[status] for status in ("400", "404", "413", "415", "422", "503")}
