"""The OpenAPI document of the service and its replies agree."""

import re
from datetime import datetime
from typing import Any

import jsonschema
import pytest
import schemathesis
from schemathesis.checks import negative_data_rejection, positive_data_acceptance

from tests.inference.serving import bearer, keys_list
from tests.support import models, openapi


@pytest.fixture(scope="session")
def document(shared):
    """With API keys, so that each route is described and reached."""
    return openapi.load(shared.serve(api_keys=keys_list()).http.app)


# Routes that differ from use case to use case in their example alone; those of `clinic` stay.
OTHERS = "/(v2/models|invocations)/(houses|forest)"


@pytest.mark.slow
@schemathesis.pytest.from_fixture("document").exclude(path_regex=OTHERS).parametrize()
@openapi.few
def test_every_reply_is_one_that_the_document_has(case):
    response = case.call(headers=bearer("both"))
    # The schema has the types, its description the texts that stand for them: both together are what is accepted.
    texts = response.status_code < 300 and _is_valid_by_its_texts(case.path, case.body)
    excluded = [negative_data_rejection] if texts else []
    if case.path.endswith("/infer"):
        # A schema can't say that the tensors of a request have as many values as their shapes say.
        excluded.append(positive_data_acceptance)
    case.validate_response(response, excluded_checks=excluded)


def _is_valid_by_its_texts(path: str, body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    use_case = body.get("use_case", "houses") if path == "/feedback" else path.rpartition("/")[2]
    use_case = use_case if use_case in models.TASKS else "houses"
    if path == "/feedback":
        target = models.TARGETS[use_case]
        return _reads(target, body.get("actual"))
    rows = body.get("rows") or body.get("dataframe_records") or [body]
    return all(
        isinstance(row, dict)
        and {f.name for f in models.FEATURES} == row.keys()
        and all(_reads(feature, row[feature.name]) for feature in models.FEATURES)
        for row in rows
    )


def _reads(feature: Any, value: Any) -> bool:
    """Whether the value, or what its text stands for by the row's description, keeps the feature's schema."""
    schema = feature.json_schema()
    checker = jsonschema.FormatChecker()
    return any(
        jsonschema.Draft202012Validator(schema, format_checker=checker).is_valid(meant)
        for meant in [value, *_meant(feature.type, value)]
    )


def _meant(kind: str, value: Any) -> list[Any]:
    text = value.strip() if isinstance(value, str) else value
    if text in ("", "?"):
        return [None]
    match kind:
        case "number" | "integer":
            if isinstance(text, str) and re.fullmatch(
                r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.A | re.I
            ):
                return [float(text)]
        case "boolean":
            words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
            word = f"{text:g}" if isinstance(text, float) else str(text).lower()
            return [words[word]] if word in words else []
        case "date":
            if isinstance(text, str) and re.match(r"\d{4}-\d\d-\d\d[T ]", text, re.A):
                return [datetime.fromisoformat(text).date().isoformat()]
        case "category":
            if isinstance(value, int | float) and not isinstance(value, bool):
                return [f"{value:.0f}" if value == int(value) else str(value)]
            return [text]
    return [text]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("area", value) for value in ("1_000", "１２", "0x10", "1e999", "nan", "infinity")),
        *(("rooms", value) for value in ("1_0", "٣")),
        *(("sold", value) for value in ("2024-01-31T99", "2024-01-31😀", "20240131", "2024-W05-3", 20240131)),
        *(("sold", value) for value in ("2024-01-31😀10:00", "２０２４-01-31", "2024-01-31 noon")),
    ],
)
def test_texts_that_the_description_does_not_name_are_refused(service, field, value):
    reply = service.http.post("/predict/houses", json=models.raw_rows(1)[0] | {field: value})
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["field"] == field


def test_the_description_names_the_texts_that_count_as_null(service):
    schemas = service.http.get("/openapi.json").json()["components"]["schemas"]
    assert 'The texts "", "?" count as null' in schemas["houses"]["description"]
