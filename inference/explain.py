"""`POST /explain/{use_case}`: how far each field moved one prediction, in the unit that is served."""

from urllib.parse import parse_qs

import orjson

from inference.body import parse, rows_of
from inference.endpoint import Call, Endpoint
from inference.errors import problem
from mlops_lab.contract import Contract
from mlops_lab.model.explain import explain


class Explain(Endpoint):
    """One row in; base value and contributions out, which add up to what is explained."""

    kind = "explain"

    def respond(self, call: Call) -> bytes:
        champion = call.champion = self.service.champions.get(call.use_case)
        contract, predictor = champion.contract, champion.predictor
        rows = rows_of(parse(call.body), self.service.settings.inference_max_rows)
        if len(rows) > 1:
            raise problem("rows", "length", "one row is explained in a request")
        found = predictor.predict(rows)
        name = _class(call.query, contract, found.values[0])
        column = None if name is None else contract.classes.index(name)
        matrix = contract.encode(found.rows)
        base, values = explain(predictor.run, matrix, predictor.background, column)
        reply = {
            "prediction": found.values[0],
            "base_value": float(base[0]),
            "values": dict(zip((f.name for f in contract.features), values[0].tolist(), strict=True)),
            "unit": contract.target.unit if name is None else "probability",
            "model": champion.name,
        }
        if name is not None:
            reply["class"] = name
            reply["probability"] = found.probabilities[0][column]
        return orjson.dumps(reply)


def _class(query: bytes, contract: Contract, predicted) -> str | None:
    """The class whose probability is explained: the one asked for, else true, or the predicted one."""
    if contract.task == "regression":
        return None
    if asked := parse_qs(query.decode("latin-1")).get("class"):
        if asked[0] not in contract.classes:
            raise problem("class", "category", f"must be one of {', '.join(contract.classes[:50])}")
        return asked[0]
    return contract.classes[1] if contract.task == "binary" else predicted
