"""`POST /explain/{use_case}`: how far each field moved one prediction, in the unit that is served."""

from typing import Any

from inference.body import parse, rows_of
from inference.endpoint import Call, Reply
from inference.errors import problem
from inference.predict import INTERVAL
from inference.service import Service
from inference.trials import answering
from mlops_lab.contract import Contract
from mlops_lab.model.curve import curve
from mlops_lab.model.explain import explain

# The query parameter that asks for the curve of one field.
CURVE = "curve"


def respond(service: Service, call: Call) -> Reply:
    """Base value and contributions of one row; they add up to what is explained.

    Nothing of the row is logged or counted for drift, so a page may ask at each change of a form. With `?curve=FIELD`
    it has the predictions for other values of that field too.
    """
    champion = answering(service.champions.get(call.use_case), call)
    contract, predictor = champion.contract, champion.predictor
    rows = rows_of(parse(call.body))
    if len(rows) > 1:
        raise problem("rows", "length", "one row is explained in a request")
    typed = contract.read(rows)
    matrix = contract.encode(typed)
    wanted = _field(call.parameter(CURVE), contract)
    result = predictor.predict_encoded(matrix)
    name = _class(call.parameter("class"), contract, result.values[0])
    column = None if name is None else contract.classes.index(name)
    base, values = explain(predictor.run, matrix, predictor.background, column)
    content: dict[str, Any] = {
        "prediction": result.values[0],
        "base_value": float(base[0]),
        "values": dict(zip((f.name for f in contract.features), values[0].tolist(), strict=True)),
        "unit": contract.target.unit if name is None else "probability",
        "model": champion.name,
        "processing_ms": call.milliseconds(),
    }
    if call.flag(INTERVAL):
        limits, fitted = predictor.intervals(result.values), contract.interval
        content |= {
            "interval": limits[0] if limits else None,
            "interval_level": fitted.level if fitted else None,
        }
    if column is not None and result.probabilities is not None:
        content["class"] = name
        content["probability"] = result.probabilities[0][column]
    if (probabilities := champion.by_class(result)) is not None:
        content["probabilities"] = probabilities[0]
    if contract.task == "binary":
        content["threshold"] = contract.threshold
    if wanted is not None:
        found = curve(predictor.run, contract, typed[0], matrix, wanted, column)
        content["curve"] = {
            "feature": wanted,
            "values": found.values,
            "predictions": found.outputs,
            "current": found.current,
        }
    return Reply(champion, content)


def _field(asked: str | None, contract: Contract) -> str | None:
    """The field whose curve is asked for; None for none."""
    names = [feature.name for feature in contract.features]
    if asked is not None and asked not in names:
        raise problem(CURVE, "category", f"must be one of {', '.join(names[:50])}")
    return asked


def _class(asked: str | None, contract: Contract, predicted: Any) -> str | None:
    """The class whose probability is explained: the requested one, else true (binary) or the predicted one."""
    if contract.task == "regression":
        return None
    if asked is not None:
        if asked not in contract.classes:
            raise problem("class", "category", f"must be one of {', '.join(contract.classes[:50])}")
        return asked
    return contract.classes[1] if contract.task == "binary" else predicted
