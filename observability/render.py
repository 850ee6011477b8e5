"""Renders Grafana's dashboards, dashboards/*.yaml, as grafana/dashboards/*.json: `python -m observability.render`.

A YAML file is one dashboard: `uid`, `title`, `about`, and `panels` from left to right, top to bottom. The first key
of a panel is its kind (`row`, `stat`, `lines`, `heat`, `table`) with its title; the other keys are the arguments of the
function of that name below. `queries` maps the legend of a query to its PromQL expression. The data source and
the use case are variables of every dashboard, so a use case that is added later appears by itself.

The JSON files are committed. A test proves that they are current; `make dashboards` writes them again.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, TypeVar

import yaml
from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, timeseries
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as schema
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from pydantic import ConfigDict, validate_call

from observability.bounds import OBJECTIVE, bounds, in_words

PAGES = Path(__file__).parent / "dashboards"
FOLDER = Path(__file__).parent / "grafana" / "dashboards"
SOURCE = schema.DataSourceRef(type_val="prometheus", uid="${datasource}")

DASHED = [
    schema.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "red"}),
    schema.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
    schema.DynamicConfigValue("custom.fillOpacity", 0),
]

Queries = dict[str, str]
Panel = TypeVar("Panel", stats.Panel, timeseries.Panel, heatmap.Panel, tables.Panel)
checked = validate_call(config=ConfigDict(strict=True))


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
    for number, panel in enumerate(built.panels, start=1):
        panel.id_val = number
    return built


@checked
def stat(
    title: str,
    about: str,
    unit: str,
    width: int,
    queries: Queries,
    red: int | str | None = None,
    show: Literal["value", "name", "up_down"] = "value",
) -> stats.Panel:
    """The newest value of each query as a number, its name, or "up" and "down"; red from a value on."""
    panel = _coloured(_described(stats.Panel(), title, about, unit, width, 5), about, unit, red)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    panel.text_mode(common.BigValueTextMode.NAME if show == "name" else common.BigValueTextMode.AUTO)
    if show == "up_down":
        down = schema.ValueMappingResult(text="down", color="red")
        up = schema.ValueMappingResult(text="up", color="green")
        panel.mappings([schema.ValueMap(options={"0": down, "1": up})])
        panel.color_mode(common.BigValueColorMode.BACKGROUND)
        panel.text_mode(common.BigValueTextMode.VALUE_AND_NAME)
    for query in _queries(queries):
        panel.with_target(query.instant())
    return panel


@checked
def lines(
    title: str,
    about: str,
    unit: str,
    queries: Queries,
    limits: Queries | None = None,
    red: int | str | None = None,
    stacked: bool = False,
) -> timeseries.Panel:
    """Values over time. `limits` are queries, too: bounds that are series of their own, drawn as dashed red lines."""
    panel = _coloured(_described(timeseries.Panel(), title, about, unit, 12, 8), about, unit, red)
    panel.min(0).draw_style(common.GraphDrawStyle.LINE).line_width(1).fill_opacity(20 if stacked else 5)
    legend = VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(True)
    panel.legend(legend.placement(common.LegendPlacement.BOTTOM))
    if red is not None:
        style = GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        panel.thresholds_style(style)
    if stacked:
        panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL))
    for query in _queries(queries | (limits or {})):
        panel.with_target(query.range())
    for name in ascii_uppercase[len(queries) :][: len(limits or {})]:
        panel.override_by_query(name, DASHED)
    return panel


@checked
def heat(title: str, about: str, unit: str, queries: Queries) -> heatmap.Panel:
    """Counts of a histogram's buckets over time."""
    panel = _described(heatmap.Panel(), title, about, "short", 24, 9)
    # Prometheus has counted the buckets already.
    panel.calculate(False).y_axis(heatmap.YAxisConfig().unit(unit))
    for query in _queries(queries):
        panel.with_target(query.range().format(PromQueryFormat.HEATMAP))
    return panel


@checked
def table(title: str, about: str, unit: str, columns: list[str], query: str) -> tables.Panel:
    """The labels of a query's series, one row for each series."""
    panel = _described(tables.Panel(), title, about, unit, 24, 7).show_header(True)
    panel.with_transformation(
        schema.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": columns}})
    )
    request = prometheus.Dataquery().expr(query).ref_id("A").datasource(SOURCE)
    return panel.with_target(request.instant().format(PromQueryFormat.TABLE))


KINDS = {"stat": stat, "lines": lines, "heat": heat, "table": table}


def _described(panel: Panel, title: str, about: str, unit: str, width: int, height: int) -> Panel:
    return panel.title(title).description(about).unit(unit).datasource(SOURCE).span(width).height(height)


def _coloured(panel: Panel, about: str, unit: str, red: int | str | None) -> Panel:
    """Green, and red from a value on; the description names the alert whose bound the value is."""
    steps = [schema.Threshold(value=None, color="green")]
    if isinstance(red, str):
        bound = bounds()[red]
        name = red if red == OBJECTIVE else f"alert {red}"
        panel.description(f"{about} Red above {in_words(bound, unit)} ({name}).")
        steps.append(schema.Threshold(value=bound, color="red"))
    elif red is not None:
        steps.append(schema.Threshold(value=red, color="red"))
    return panel.thresholds(dashboard.ThresholdsConfig().mode(schema.ThresholdsMode.ABSOLUTE).steps(steps))


def _queries(queries: Queries) -> Iterator[prometheus.Dataquery]:
    for name, (legend, expression) in zip(ascii_uppercase, queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(name)
        yield query.datasource(SOURCE)


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
