"""The committed dashboards are the rendered ones; each panel is described and takes source and use case by variable."""

import json
import re
import shutil
import subprocess

import pytest
from pydantic import ValidationError

from observability import render

PROMTOOL = shutil.which("promtool")
PAGES = {name: json.loads(content) for name, content in render.files().items()}
PANELS = [(name, panel) for name, page in PAGES.items() for panel in page["panels"] if panel["type"] != "row"]
IDS = [f"{name}: {panel['title']}" for name, panel in PANELS]


def test_the_files_are_current():
    committed = {path.name: path.read_text() for path in render.FOLDER.glob("*.json")}
    assert committed == render.files(), "run `make dashboards` and commit what changes"


def test_each_dashboard_has_its_own_uid_and_variables_for_source_and_use_case():
    assert len({page["uid"] for page in PAGES.values()}) == len(PAGES)
    for page in PAGES.values():
        variables = {variable["name"]: variable for variable in page["templating"]["list"]}
        assert variables["datasource"]["type"] == "datasource"
        assert variables["use_case"]["includeAll"]
        assert variables["use_case"]["datasource"]["uid"] == "${datasource}"
        assert page["editable"] is False
        ids = [panel["id"] for panel in page["panels"]]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "panel",
    [
        {"stat": "A typing error", "about": "a", "unit": "s", "width": 6, "queries": {}, "rad": 1},
        {"stat": "A width as text", "about": "a", "unit": "s", "width": "6", "queries": {}},
        {"lines": "A legend without a query", "about": "a", "unit": "s", "queries": {"a": None}},
        {"lines": "No unit", "about": "a", "queries": {}},
    ],
    ids=lambda panel: next(iter(panel.values())),
)
def test_a_panel_with_an_unknown_key_or_a_wrong_type_is_refused(panel):
    with pytest.raises(ValidationError):
        render.page("uid", "title", "about", [panel])


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=IDS)
def test_each_panel_has_a_description(name, panel):
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
