"""Renders Grafana's dashboards, dashboards/*.yaml, as grafana/dashboards/*.json: `python -m observability.render`.

A YAML file is one dashboard: `uid`, `title`, `about`, and `panels` from left to right, top to bottom. The first key of
a panel is its kind with its title: `row`, or one of `observability/panels.py`, which also explains the other keys. The
data source and the use case are variables of every dashboard, so a use case that is added later is shown, too.

The JSON files are committed. A test proves that they are current; `make dashboards` writes them again.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as schema

from observability.panels import KINDS, SOURCE, checked

PAGES = Path(__file__).parent / "dashboards"
FOLDER = Path(__file__).parent / "grafana" / "dashboards"


def files() -> dict[str, str]:
    """File name → JSON of every dashboard. Raises ValidationError on an unknown key or a value of a wrong type."""
    encode = JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode
    pages = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(PAGES.glob("*.yaml"))
    }
    return {f"{name}.json": encode(page(**content)) + "\n" for name, content in pages.items()}


@checked
def page(uid: str, title: str, about: str, panels: list[dict[str, Any]]) -> schema.Dashboard:
    """A dashboard with the lab's links, variables and refresh interval."""
    links = dashboard.DashboardLink("Lab").type(schema.DashboardLinkType.DASHBOARDS).tags(["lab"])
    use_case = (
        dashboard.QueryVariable("use_case")
        .label("Use case")
        .datasource(SOURCE)
        .query('label_values({__name__=~"lab_batches|model_info"}, use_case)')
        .refresh(schema.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(schema.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )
    made = dashboard.Dashboard(title).uid(uid).description(about).tags(["lab"]).readonly()
    made.refresh("15s").time("now-1h", "now").timezone("browser").tooltip(
        schema.DashboardCursorSync.CROSSHAIR
    )
    made.link(links.as_dropdown(False))
    made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    made.with_variable(use_case)
    for panel in panels:
        (kind, title), *arguments = panel.items()
        if kind == "row":
            made.with_row(dashboard.Row(title))
        else:
            made.with_panel(KINDS[kind](title, **dict(arguments)))
    built = made.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return built


def main() -> None:
    """Writes the files, and removes those of dashboards that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = files()
    for path in FOLDER.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, content in made.items():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
