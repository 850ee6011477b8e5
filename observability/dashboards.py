"""Grafana's dashboards as code: `python -m observability.dashboards` writes them as JSON into grafana/dashboards.

The files are generated and committed; `make dashboards` makes them anew and a test proves that they are current.
Every panel has a title, a unit, a description, and its data source and use case by variable, so that a use case that
is added later appears by itself.
"""
# ruff: noqa: E501 (a query stays on its line)

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, StackingConfig, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueTextMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER = Path(__file__).parent / "grafana" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
OF = '{use_case=~"$use_case"}'  # the selector of a use case's series

Query = tuple[str, str]  # expression, legend


def overview() -> Dashboard:
    """Is it healthy, and is it working?"""
    page = _page("lab-overview", "Overview", "Is the lab healthy, what do the models do, did the data move?")
    _row(page, "Health")
    _stat(
        page,
        "Alerts that fire",
        "Alerts that fire now; the web UI's System page shows them with their runbooks.",
        "short",
        [('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts")],
        4,
        red_from=1,
    )
    _stat(
        page,
        "Services that answer",
        "Answers to the exporter's questions and to Prometheus; anything but up is down.",
        "bool_yes_no",
        [("min by (service) (lab_up)", "{{service}}"), ("min by (job) (up)", "{{job}}")],
        20,
        updown=True,
    )
    _row(page, "Serving")
    _stat(
        page,
        "Requests",
        "Requests a second, all replicas, the last minute.",
        "reqps",
        [(f"sum(use_case:inference_requests:rate1m{OF}) or vector(0)", "requests")],
        6,
    )
    _stat(
        page,
        "Failed",
        "Share of the replies of the last minute that were the service's own errors (5xx).",
        "percentunit",
        [(f"max(use_case:inference_errors:ratio1m{OF}) or vector(0)", "worst use case")],
        6,
        red_from=0.05,
    )
    _stat(
        page,
        "99 of 100 predictions within",
        "Time in which 99 % of the predictions were answered, five minutes.",
        "s",
        [(f"max(use_case:inference_latency_seconds:p99_5m{OF} >= 0) or vector(0)", "worst use case")],
        6,
        red_from=0.25,
    )
    _stat(
        page,
        "Champions",
        "Version that each replica serves.",
        "short",
        [(f"max by (use_case, version) (model_info{OF})", "{{use_case}} version {{version}}")],
        6,
        names=True,
    )
    _lines(
        page,
        "Requests by use case",
        "Requests a second to predict, explain and give feedback.",
        "reqps",
        [(f"sum by (use_case) (use_case:inference_requests:rate1m{OF})", "{{use_case}}")],
    )
    _lines(
        page,
        "Greatest drift",
        "Population stability index of the feature that moved most; above 0.25 it has shifted. From 500 rows on.",
        "none",
        [(f"max by (use_case) (use_case_feature:feature_drift_psi:max{OF})", "{{use_case}}")],
        red_from=0.25,
    )
    _row(page, "Learning")
    _lines(
        page,
        "Rows learnt from",
        "New clean rows in CleanData, all batches.",
        "short",
        [('lab_rows_total{use_case=~"$use_case", kind="clean"}', "{{use_case}}")],
    )
    _lines(
        page,
        "Tasks",
        "Airflow's tasks that run, and those that wait for a worker.",
        "short",
        [("airflow_executor_running_tasks", "running"), ("lab_queue_tasks", "waiting in the queue")],
    )
    return page


def inference() -> Dashboard:
    """How well is it served?"""
    page = _page(
        "lab-inference",
        "Inference",
        "Latency, rate, errors, batch sizes, memory and versions of the service.",
    )
    _heat(
        page,
        "Latency of predictions",
        "How many predictions took how long; the objective is 99 % within 0.25 s.",
        "s",
        'sum by (le) (increase(inference_request_latency_seconds_bucket{use_case=~"$use_case", kind="predict"}[$__rate_interval]))',
    )
    _lines(
        page,
        "Latency",
        "Half of the predictions, and 99 of 100, are answered within this time.",
        "s",
        [
            (f"use_case:inference_latency_seconds:p50_5m{OF} >= 0", "{{use_case}}, half"),
            (f"use_case:inference_latency_seconds:p99_5m{OF} >= 0", "{{use_case}}, 99 of 100"),
        ],
        red_from=0.25,
    )
    _lines(
        page,
        "Slower than 0.25 s",
        "Share of slow predictions; the objective allows 1 %, alerts look at several windows.",
        "percentunit",
        [
            (f"use_case:inference_slow:ratio5m{OF} >= 0", "{{use_case}}, 5 min"),
            (f"use_case:inference_slow:ratio1h{OF} >= 0", "{{use_case}}, 1 h"),
        ],
    )
    _lines(
        page,
        "Rate",
        "Requests a second by what was asked.",
        "reqps",
        [(f"use_case:inference_requests:rate1m{OF}", "{{use_case}} {{kind}}")],
    )
    _lines(
        page,
        "Replies by status",
        "2xx answered, 4xx the caller's error, 5xx the service's.",
        "reqps",
        [(f"sum by (status) (rate(inference_requests_total{OF}[$__rate_interval]))", "{{status}}")],
        stacked=True,
    )
    _lines(
        page,
        "Failed and refused",
        "Shares of the replies: 5xx of the last minute, 4xx of the last five.",
        "percentunit",
        [
            (f"use_case:inference_errors:ratio1m{OF} >= 0", "{{use_case}} failed"),
            (f"use_case:inference_refused:ratio5m{OF} >= 0", "{{use_case}} refused"),
        ],
    )
    _lines(
        page,
        "Reasons",
        "Refused and failed requests by reason.",
        "reqps",
        [(f"sum by (kind) (rate(inference_errors_total{OF}[$__rate_interval]))", "{{kind}}")],
    )
    _lines(
        page,
        "Rows a request",
        "Mean and 95 % of the rows that a prediction asks for.",
        "short",
        [
            (
                f"sum by (use_case) (rate(inference_batch_size_sum{OF}[5m])) / (sum by (use_case) (rate(inference_batch_size_count{OF}[5m])) > 0)",
                "{{use_case}}, mean",
            ),
            (
                f"histogram_quantile(0.95, sum by (use_case, le) (rate(inference_batch_size_bucket{OF}[5m]))) >= 0",
                "{{use_case}}, 95 %",
            ),
        ],
    )
    _lines(
        page,
        "Memory of each replica",
        "Resident memory of the service's process.",
        "bytes",
        [('process_resident_memory_bytes{job="inference"}', "{{instance}}")],
    )
    _lines(
        page,
        "CPU of each replica",
        "Processor time a second; 1 is a whole core.",
        "none",
        [('rate(process_cpu_seconds_total{job="inference"}[$__rate_interval])', "{{instance}}")],
    )
    _lines(
        page,
        "Prediction log",
        "Entries that reached the database, and rows that wait on disk for it.",
        "short",
        [
            ("sum(rate(inference_predictions_logged_total[$__rate_interval]))", "logged a second"),
            ("sum(inference_prediction_spool_rows)", "waiting rows"),
            ("sum(increase(inference_predictions_dropped_total[5m]))", "dropped in 5 min"),
        ],
    )
    _table(
        page,
        "Versions served",
        "Each replica's champion of each use case, and the MLflow run that it comes from.",
        "none",
        f"model_info{OF}",
        ["use_case", "version", "candidate", "run_id", "instance"],
    )
    return page


def models() -> Dashboard:
    """Are the models still right?"""
    page = _page(
        "lab-models", "Models and drift", "Drift of what is asked, live error, challengers and promotions."
    )
    _lines(
        page,
        "Drift by feature",
        "Population stability index of the latest rows against the training rows, the service's own count from 500 "
        "rows on. Below 0.1 stable, above 0.25 shifted.",
        "none",
        [
            (
                f"topk by (use_case) (10, use_case_feature:feature_drift_psi:max{OF})",
                "{{use_case}} {{feature}}",
            )
        ],
        red_from=0.25,
    )
    _lines(
        page,
        "Rows that the drift is about",
        "Below 500 noise alone passes the bound, so no drift is shown.",
        "short",
        [(f"max by (use_case) (feature_drift_rows{OF})", "{{use_case}}")],
    )
    _lines(
        page,
        "Values that the model doesn't know",
        "Category values without a code of their own, rare or unknown.",
        "cps",
        [
            (
                f"sum by (use_case, feature) (rate(feature_unknown_values_total{OF}[5m])) > 0 or sum by (use_case) (rate(feature_unknown_values_total{OF}[5m]))",
                "{{use_case}} {{feature}}",
            )
        ],
    )
    _lines(
        page,
        "Score",
        "The use case's metric on the test rows, and on live predictions whose true value came.",
        "none",
        [(f"lab_model_score{OF}", "{{use_case}} {{metric}}, {{on}}")],
    )
    _lines(
        page,
        "Challenger against champion",
        "Scores on the same test rows when the newest challenger was judged.",
        "none",
        [(f"lab_promotion_score{OF}", "{{use_case}} {{metric}}, {{role}}")],
    )
    _stat(page, "Versions", "Registered versions.", "short", [(f"lab_versions{OF}", "{{use_case}}")], 6)
    _stat(
        page,
        "Decisions on challengers",
        "Promoted, refused, rolled back.",
        "short",
        [(f"lab_promotions{OF}", "{{use_case}} {{outcome}}")],
        6,
    )
    _stat(
        page,
        "Time since the champion was loaded",
        "Since the service loaded the version that it serves.",
        "s",
        [(f"time() - max by (use_case) (model_loaded_timestamp_seconds{OF})", "{{use_case}}")],
        6,
    )
    _stat(
        page,
        "Predictions with a true value",
        "Of the champion's predictions, those that feedback came for; live error counts from 100 on.",
        "short",
        [(f"lab_feedback_answered{OF}", "{{use_case}}")],
        6,
    )
    _stat(
        page,
        "Monitoring looked",
        "Time since the monitoring DAG looked at what was served.",
        "s",
        [(f"time() - lab_monitoring_timestamp_seconds{OF}", "{{use_case}}")],
        6,
    )
    _stat(
        page,
        "Bound passed",
        "Whether that look found drift or a live error beyond its bound.",
        "bool_yes_no",
        [(f"lab_monitoring_bound_passed{OF}", "{{use_case}}")],
        6,
        red_from=1,
    )
    _stat(
        page,
        "Newest champion can't be loaded",
        "1: the version before is served on.",
        "bool_yes_no",
        [(f"max by (use_case) (model_reload_failing{OF})", "{{use_case}}")],
        6,
        red_from=1,
    )
    _stat(
        page,
        "Drift in the prediction log",
        "Population stability index of the feature that moved most, at that look.",
        "none",
        [(f"lab_monitoring_psi{OF}", "{{use_case}}")],
        6,
        red_from=0.25,
    )
    return page


def pipeline() -> Dashboard:
    """Does the data arrive, and what becomes of it?"""
    page = _page(
        "lab-pipeline", "Pipeline", "Batches, rows, quarantine, decisions, and how long Airflow's runs take."
    )
    _lines(
        page,
        "Batches",
        "Batches in the ledger, by state.",
        "short",
        [(f"lab_batches{OF}", "{{use_case}} {{state}}")],
        stacked=True,
    )
    _lines(
        page,
        "Rows",
        "Rows of all batches: received, quarantined, dropped by cleaning, known before, new and clean.",
        "short",
        [(f"sum by (kind) (lab_rows_total{OF})", "{{kind}}")],
    )
    _lines(
        page,
        "Quarantine",
        "Share of the rows that broke a rule: of the newest batch, and of all.",
        "percentunit",
        [
            (f"lab_last_batch_quarantine_ratio{OF}", "{{use_case}}, newest batch"),
            (f"use_case:lab_quarantine:ratio{OF}", "{{use_case}}, all"),
        ],
        red_from=0.05,
    )
    _lines(
        page,
        "Decisions",
        "Batches that led to a training, and that were skipped.",
        "short",
        [(f"lab_decisions{OF}", "{{use_case}} {{decision}}")],
    )
    _stat(
        page,
        "Time since the newest batch",
        "Since its payload was stored.",
        "s",
        [(f"time() - lab_last_batch_timestamp_seconds{OF}", "{{use_case}}")],
        8,
    )
    _stat(
        page,
        "Missing batches",
        "Numbers that the Data API skipped.",
        "short",
        [(f"lab_batches_missing{OF}", "{{use_case}}")],
        8,
        red_from=1,
    )
    _stat(
        page,
        "Unfinished batch",
        "Age of the oldest batch whose run hasn't ended.",
        "s",
        [(f"max(lab_unfinished_batch_seconds{OF}) or vector(0)", "age")],
        8,
        red_from=7200,
    )
    _lines(
        page,
        "Runs",
        "Time of a DAG's run, mean of the last half hour.",
        "s",
        [
            (
                "sum by (dag_id) (rate(airflow_dag_run_success_seconds_sum[30m])) / (sum by (dag_id) (rate(airflow_dag_run_success_seconds_count[30m])) > 0)",
                "{{dag_id}}",
            ),
        ],
    )
    _lines(
        page,
        "Ended runs",
        "Runs of a DAG that succeeded or failed since Airflow's figures are kept.",
        "short",
        [
            ("sum by (dag_id) (airflow_dag_run_success_seconds_count)", "{{dag_id}} succeeded"),
            ("sum by (dag_id) (airflow_dag_run_failed_seconds_count) or vector(0)", "{{dag_id}} failed"),
        ],
    )
    _lines(
        page,
        "Tasks",
        "Time of a task, mean of the last half hour.",
        "s",
        [
            (
                "sum by (dag_id, task_id) (rate(airflow_task_duration_seconds_sum[30m])) / (sum by (dag_id, task_id) (rate(airflow_task_duration_seconds_count[30m])) > 0)",
                "{{dag_id}} {{task_id}}",
            )
        ],
    )
    _lines(
        page,
        "Ended tasks",
        "Tasks that ended, by how.",
        "short",
        [("sum by (state) (airflow_task_ends_total)", "{{state}}")],
        stacked=True,
    )
    _lines(
        page,
        "Batches that the Data API served",
        "By data set, to the group that has come furthest.",
        "short",
        [("max by (dataset) (datos_position)", "{{dataset}}")],
    )
    return page


def stack() -> Dashboard:
    """Does what it runs on hold?"""
    page = _page("lab-stack", "Stack", "Services, queue, databases, disk and memory.")
    _lines(
        page,
        "Who answers",
        "1: the service answers the exporter's question.",
        "none",
        [("lab_up", "{{service}}")],
    )
    _lines(
        page,
        "How fast it answers",
        "Time that the exporter's question took.",
        "s",
        [("lab_look_seconds", "{{service}}")],
    )
    _stat(
        page,
        "Airflow's components",
        "By Airflow's own health report.",
        "bool_yes_no",
        [("lab_airflow_component_up", "{{component}}")],
        12,
        updown=True,
    )
    _stat(
        page,
        "Scrape targets",
        "What Prometheus reaches.",
        "bool_yes_no",
        [("min by (job) (up)", "{{job}}")],
        12,
        updown=True,
    )
    _lines(
        page,
        "Heartbeats",
        "Of Airflow's scheduler and DAG processor, a minute.",
        "cpm",
        [
            ("60 * rate(airflow_scheduler_heartbeats_total[2m])", "scheduler"),
            ("60 * rate(airflow_dag_processor_heartbeats_total[2m])", "DAG processor"),
        ],
    )
    _lines(
        page,
        "Queue",
        "Tasks that wait in Redis, and what Airflow's executor holds.",
        "short",
        [
            ("lab_queue_tasks", "waiting in Redis"),
            ("airflow_executor_queued_tasks", "queued by the executor"),
            ("airflow_executor_running_tasks", "running"),
            ("airflow_executor_open_slots", "open slots"),
        ],
    )
    _lines(
        page,
        "Connections",
        "Share of the connections that a database allows.",
        "percentunit",
        [("lab_database_connections / lab_database_connections_limit", "{{service}}")],
        red_from=0.8,
    )
    _lines(
        page, "Databases", "Size of Airflow's databases.", "bytes", [("lab_database_bytes", "{{database}}")]
    )
    _lines(
        page,
        "Disk",
        "Free share: of the disk that the containers share, and of MinIO's.",
        "percentunit",
        [("disk:free:ratio", "{{disk}}")],
    )
    _lines(
        page,
        "Objects",
        "Bytes that the buckets hold.",
        "bytes",
        [
            (
                "sum by (bucket) (minio_bucket_usage_total_bytes) or minio_cluster_usage_total_bytes",
                "{{bucket}}",
            )
        ],
    )
    _lines(
        page,
        "Memory",
        "Resident memory of each process that tells it.",
        "bytes",
        [("process_resident_memory_bytes", "{{job}} {{instance}}")],
    )
    _lines(
        page,
        "Series",
        "Series that Prometheus holds: they must stay bounded.",
        "short",
        [("prometheus_tsdb_head_series", "series")],
    )
    return page


PAGES: Sequence[Callable[[], Dashboard]] = (overview, inference, models, pipeline, stack)


def files() -> dict[str, str]:
    """File name → JSON of every dashboard."""
    encode = JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode
    made = {}
    for make in PAGES:
        page = make().build()
        for number, panel in enumerate(page.panels, start=1):
            panel.id_val = number
        made[f"{make.__name__}.json"] = encode(page) + "\n"
    return made


def main() -> None:
    """Writes the files, and removes those of dashboards that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = files()
    for path in FOLDER.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, content in made.items():
        (FOLDER / name).write_text(content, encoding="utf-8")


def _page(uid: str, title: str, about: str) -> Dashboard:
    links = dashboard.DashboardLink("Lab").type(DashboardLinkType.DASHBOARDS).tags(["lab"]).as_dropdown(False)
    source = DatasourceVariable("datasource").label("Data source").type("prometheus")
    use_case = (
        QueryVariable("use_case").label("Use case").datasource(SOURCE).query("label_values({__name__=~\"lab_batches|model_info\"}, use_case)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True).include_all(True).all_value(".*")
    )  # fmt: skip
    return (
        Dashboard(title).uid(uid).description(about).tags(["lab"]).readonly().refresh("15s").time("now-1h", "now")
        .timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR).link(links)
        .with_variable(source).with_variable(use_case)
    )  # fmt: skip


def _row(page: Dashboard, title: str) -> None:
    page.with_row(dashboard.Row(title))


def _targets(panel, queries: Sequence[Query], instant: bool = False):
    for place, (expression, legend) in enumerate(queries):
        query = (
            prometheus.Dataquery()
            .expr(expression)
            .legend_format(legend)
            .ref_id(chr(ord("A") + place))
            .datasource(SOURCE)
        )
        panel = panel.with_target(query.instant() if instant else query.range())
    return panel


def _limit(red_from: float | None) -> ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    if red_from is not None:
        steps.append(Threshold(value=red_from, color="red"))
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _common(panel, title: str, about: str, unit: str, width: int, height: int):
    return panel.title(title).description(about).unit(unit).datasource(SOURCE).span(width).height(height)


def _lines(
    page: Dashboard,
    title: str,
    about: str,
    unit: str,
    queries: Sequence[Query],
    *,
    stacked=False,
    red_from=None,
) -> None:
    panel = (
        _common(timeseries.Panel(), title, about, unit, 12, 8)
        .min(0)
        .draw_style(GraphDrawStyle.LINE)
        .line_width(1)
    )
    panel = panel.fill_opacity(20 if stacked else 5).thresholds(_limit(red_from))
    legend = (
        VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel = panel.legend(legend)
    if stacked:
        panel = panel.stacking(StackingConfig().mode(StackingMode.NORMAL))
    page.with_panel(_targets(panel, queries))


def _stat(
    page: Dashboard,
    title: str,
    about: str,
    unit: str,
    queries: Sequence[Query],
    width: int,
    *,
    red_from=None,
    updown=False,
    names=False,
) -> None:
    panel = _common(stat.Panel(), title, about, unit, width, 5).reduce_options(
        ReduceDataOptions().calcs(["lastNotNull"])
    )
    panel = panel.text_mode(BigValueTextMode.NAME if names else BigValueTextMode.AUTO).thresholds(
        _limit(red_from)
    )
    if updown:
        panel = panel.color_mode(BigValueColorMode.BACKGROUND).text_mode(BigValueTextMode.VALUE_AND_NAME).mappings([
            ValueMap(options={"0": ValueMappingResult(text="down", color="red"), "1": ValueMappingResult(text="up", color="green")})
        ])  # fmt: skip
    page.with_panel(_targets(panel, queries, instant=True))


def _heat(page: Dashboard, title: str, about: str, unit: str, expression: str) -> None:
    panel = _common(heatmap.Panel(), title, about, "short", 24, 9).calculate(False)  # buckets come ready made
    query = prometheus.Dataquery().expr(expression).legend_format("{{le}}").ref_id("A").datasource(SOURCE)
    panel = panel.y_axis(heatmap.YAxisConfig().unit(unit))
    page.with_panel(panel.with_target(query.range().format(PromQueryFormat.HEATMAP)))


def _table(
    page: Dashboard, title: str, about: str, unit: str, expression: str, columns: Sequence[str]
) -> None:
    panel = _common(table.Panel().show_header(True), title, about, unit, 24, 7)
    query = (
        prometheus.Dataquery()
        .expr(expression)
        .ref_id("A")
        .datasource(SOURCE)
        .instant()
        .format(PromQueryFormat.TABLE)
    )
    kept = DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
    page.with_panel(panel.with_target(query).with_transformation(kept))


if __name__ == "__main__":
    sys.exit(main())
