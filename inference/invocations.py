"""MLflow's scoring protocol: `POST /invocations[/{use_case}]` and `GET /ping`, as `mlflow models serve` has them.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/. Rows come as `dataframe_split`, `dataframe_records`,
`inputs` or `instances` in JSON, or as CSV with a header. CSV has texts, which are read as `/predict` reads them.
`?interval=true` adds prediction intervals, which MLflow's protocol doesn't have.
"""

from typing import Any

from inference.body import CSV, JSON, parse_with_nan
from inference.csv_rows import read_csv
from inference.endpoint import Call, Reply
from inference.errors import problem
from inference.predict import INTERVAL, intervals, predict
from inference.service import Service
from inference.trials import answering
from mlops_lab.tabular import named, rows_of_columns

ACCEPTED = (JSON, CSV)
_FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")


def respond(service: Service, call: Call) -> Reply:
    """Predicts the rows in one of MLflow's forms. Raises as `/predict` does."""
    rows = read_csv(call.body) if call.content_type == CSV else _rows(parse_with_nan(call.body))
    found = predict(service, answering(service.champions.get(call.use_case), call), call, rows)
    content = {
        "predictions": found.values,
        "model": found.champion.name,
        "prediction_ids": found.ids,
        "processing_ms": call.milliseconds(),
    }
    if call.flag(INTERVAL):
        content |= intervals(found)
    return Reply(found.champion, content, len(rows), entries=found.entries)


def _rows(value: Any) -> list[dict[str, Any]]:
    forms = [form for form in _FORMS if isinstance(value, dict) and form in value]
    if len(forms) != 1:
        raise problem("", "type", f"the body must be an object with one of {', '.join(_FORMS)}")
    form, content = forms[0], value[forms[0]]
    if form == "dataframe_split":
        return _split(content)
    if form == "inputs" and isinstance(content, dict):
        return _columns(content)
    if not isinstance(content, list) or not content or not all(isinstance(row, dict) for row in content):
        raise problem(form, "type", "must be a list of at least one row, each an object")
    return content


def _split(content: Any) -> list[dict[str, Any]]:
    columns, data = (content.get(key) if isinstance(content, dict) else None for key in ("columns", "data"))
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise problem("dataframe_split", "type", "must have columns, a list of names")
    if len(set(columns)) < len(columns):
        raise problem("dataframe_split", "unknown", "names a column twice")
    if not isinstance(data, list) or not data or not all(isinstance(row, list) for row in data):
        raise problem("dataframe_split", "type", "must have data, a list of at least one row, each a list")
    return [named(columns, row, number) for number, row in enumerate(data)]


def _columns(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an object that has a list of values, or one value, for each field."""
    columns = {name: values if isinstance(values, list) else [values] for name, values in content.items()}
    # A column of shape (n, 1) is one of shape (n).
    columns = {
        name: [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
        for name, values in columns.items()
    }
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1 or not lengths.pop():
        raise problem("inputs", "length", "must have the same number of values, at least one, for each field")
    return rows_of_columns(columns)
