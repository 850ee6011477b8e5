"""The committed dashboards are those of the code, and every panel is complete and bound to nothing."""

import builtins
import enum
import json
import re
import shutil
import subprocess
import types
import typing
from collections.abc import Iterator

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.dashboards import FOLDER, files

PROMTOOL = shutil.which("promtool")
PAGES = {name: json.loads(content) for name, content in files().items()}
PANELS = [(name, panel) for name, page in PAGES.items() for panel in page["panels"] if panel["type"] != "row"]
IDS = [f"{name}: {panel['title']}" for name, panel in PANELS]


def test_the_files_are_current():
    committed = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert committed == files(), "run `make dashboards` and commit what changes"


def test_each_dashboard_is_found_by_its_own_uid_and_takes_its_source_and_use_case_by_variable():
    assert len({page["uid"] for page in PAGES.values()}) == len(PAGES)
    for page in PAGES.values():
        variables = {variable["name"]: variable for variable in page["templating"]["list"]}
        assert variables["datasource"]["type"] == "datasource"
        assert variables["use_case"]["includeAll"]
        assert variables["use_case"]["datasource"]["uid"] == "${datasource}"
        assert page["editable"] is False
        ids = [panel["id"] for panel in page["panels"]]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_each_dashboard_is_valid_by_grafanas_schema(page):
    """Grafana generates the SDK's models from its schema; they read anything, so each field is checked by its type."""
    register_default_plugins()
    typed = Dashboard.from_json(page)
    assert list(_faults(typed, Dashboard, "dashboard")) == []
    assert list(_lost(page, json.loads(JSONEncoder().encode(typed)), "dashboard")) == []


def _lost(given, kept, place: str) -> Iterator[str]:
    """Fields that the schema doesn't know, which the models drop."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in kept:
                yield f"{place}.{key} is unknown"
            else:
                yield from _lost(value, kept[key], f"{place}.{key}")
    elif isinstance(given, list):
        for number, (value, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(value, other, f"{place}[{number}]")
    else:
        assert given == kept, place


def _faults(value, hint, place: str) -> Iterator[str]:
    """Where the value is not of the type that the SDK's model declares."""
    parts = typing.get_args(hint)
    if isinstance(value, dict) and hasattr(hint, "from_json"):  # the SDK leaves some as they came
        value = hint.from_json(value)
    match typing.get_origin(hint) or hint:
        case typing.Any | builtins.object:
            fits = True
        case typing.Union | types.UnionType:
            yield from min((list(_faults(value, part, place)) for part in parts), key=len)
            return
        case builtins.list if isinstance(value, list):
            for number, part in enumerate(value):
                yield from _faults(part, parts[0], f"{place}[{number}]")
            return
        case builtins.dict if isinstance(value, dict):
            for key, part in value.items():
                yield from _faults(part, parts[1], f"{place}.{key}")
            return
        case typing.Literal:
            fits = value in parts
        case builtins.float:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case kind if issubclass(kind, enum.Enum):
            fits = value in {member.value for member in kind}
        case kind:
            fits = isinstance(value, kind)
    if not fits:
        yield f"{place}: {value!r} is not {hint}"
    elif hasattr(value, "to_json"):
        for name, part in typing.get_type_hints(type(value)).items():
            yield from _faults(getattr(value, name), part, f"{place}.{name}")


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=IDS)
def test_each_panel_says_what_it_shows(name, panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        # A series that has a use case is chosen by the variable, never by a name that stands here.
        assert not re.search(r'use_case="', target["expr"])


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here; the stack test runs every query")
def test_each_query_is_promql(tmp_path):
    queries = [target["expr"] for _, panel in PANELS for target in panel["targets"]]
    ready = [query.replace("$use_case", ".*").replace("$__rate_interval", "1m") for query in queries]
    rules = [{"record": f"q:{number}", "expr": query} for number, query in enumerate(ready)]
    file = tmp_path / "queries.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [PROMTOOL, "check", "rules", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
