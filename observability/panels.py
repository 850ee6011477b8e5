"""The kinds of panels that a dashboard's YAML file may have: a function for each, with the panel's keys as arguments.

`about` is the panel's description. `queries` maps the legend of a query to its PromQL expression. `red` is a value, or
the name of an alert, which stands for the bound of that alert.
"""

from collections.abc import Iterator
from string import ascii_uppercase
from typing import Literal, TypeVar

from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, timeseries
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
)
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as schema
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from pydantic import ConfigDict, validate_call

from observability.bounds import OBJECTIVE, bounds, in_words

# The data source is a variable of the dashboard.
SOURCE = schema.DataSourceRef(type_val="prometheus", uid="${datasource}")

DASHED = [
    schema.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "red"}),
    schema.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
    schema.DynamicConfigValue("custom.fillOpacity", 0),
]

Queries = dict[str, str]
Panel = TypeVar("Panel", stats.Panel, timeseries.Panel, heatmap.Panel, tables.Panel)

# YAML has no types: an unknown key or a value of a wrong type raises ValidationError.
checked = validate_call(config=ConfigDict(strict=True))


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
