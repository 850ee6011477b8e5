"""Live: what callers ask and how fast it is answered, how good the answers are, drift, and the newest predictions."""

import ui_frame
import ui_live
import ui_log
import ui_traffic
from ui_settings import settings

import streamlit as st
from mlops_lab.client import ServedModel
from mlops_lab.contract import Contract
from mlops_lab.form import about_metric
from mlops_lab.formatting import counted, literal
from mlops_lab.live_client import Live, LiveCheck
from mlops_lab.traffic import Scrape, traffic

SINCE_START, LATELY = "Since its start", f"Last {ui_traffic.MINUTES} minutes"


@st.cache_data(ttl=settings().page_refresh / 2, show_spinner=False, max_entries=50)
def _live(use_case: str) -> Live:
    return ui_traffic.client().live(use_case)


@st.fragment(run_every=settings().page_refresh)
def page() -> None:
    if not (use_case := ui_frame.chosen()):
        return
    with ui_frame.friendly():
        model = ui_frame.served(use_case)
        contract = ui_frame.contract(use_case, model.version or 0)
        scrapes = ui_traffic.watch().look()
        _traffic(scrapes, use_case)
        left, right = st.columns(2, gap="large")
        with left, ui_frame.friendly():
            _scores(_live(use_case), model, contract)
        with right:
            _drift(scrapes[-1], contract)
        with ui_frame.friendly():
            ui_log.section(contract)


def _traffic(scrapes: list[Scrape], use_case: str) -> None:
    newest = scrapes[-1]
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.subheader("Traffic", anchor=False)
        # The chosen name of a segmented control has too little contrast in Streamlit's dark theme.
        span = st.radio("Figures", [SINCE_START, LATELY], horizontal=True, key="span of the figures")
    before = scrapes[0] if span == LATELY else None
    found = traffic(newest, before, use_case=use_case)
    failing = "–" if found.failing is None else f"{found.failing:.2%}"
    help_ = "From a request's headers read to its reply made."
    with st.container(horizontal=True):
        st.metric("Requests a minute", f"{found.per_minute:,.3g}", border=True)
        for name, value in (("Half", found.p50), ("95%", found.p95), ("99%", found.p99)):
            st.metric(f"{name} within", ui_traffic.lasting(value), border=True, help=help_)
        st.metric("Failed or refused", failing, border=True)
    span_text = (
        f"in the last {ui_traffic.ago(found.seconds)}"
        if before
        else f"since the service started, {ui_traffic.ago(found.seconds)} ago"
    )
    said = f"{counted(int(found.requests), 'request')} for predictions {span_text}."
    if before is newest:
        said = "This page has just begun to look; the figures come with its next look."
    if url := settings().grafana_public_url:
        said += f" Days of it, and every replica: [Grafana]({url})."
    st.caption(said)
    _history(scrapes, use_case)
    rows, errors = ui_live.routes(newest, before, use_case), ui_live.failures(newest, before, use_case)
    if rows:
        whole = st.column_config.NumberColumn(format="localized")
        st.dataframe(
            rows,
            hide_index=True,
            column_config={"Number": whole, "Failed": whole},
            alt="Requests and latency by kind of request and version",
        )
    if errors:
        with st.expander(f"Why {counted(sum(row['Requests'] for row in errors), 'request')} failed"):
            st.dataframe(errors, hide_index=True, width="content", alt="Failed requests by reason")


def _history(scrapes: list[Scrape], use_case: str) -> None:
    """The last minutes, as far as an open page looked at them."""
    frame = ui_live.over_time(scrapes, use_case)
    if len(frame) < 3:
        return
    left, right = st.columns(2, gap="large")
    left.altair_chart(
        ui_live.line(frame, "requests", "Requests a minute"),
        height=160,
        alt="Requests a minute over the last minutes",
    )
    if frame["p95"].notna().any():
        right.altair_chart(
            ui_live.line(frame, "p95", "95% answered within (ms)"),
            height=160,
            alt="Latency that 95% of the requests stay within, over the last minutes",
        )


def _scores(live: Live, model: ServedModel, contract: Contract) -> None:
    st.subheader("How good the answers are", anchor=False, help=about_metric(contract.metric) or None)
    check = live.check if live.check and live.check.version == model.version else None
    rows = ui_live.score_rows(check, live.live, contract)
    if rows:
        described = "; ".join(f"{row['what']}: {row['text']}" for row in rows)
        st.altair_chart(
            ui_live.scores(rows, contract.metric), height=70 + 38 * len(rows), alt=literal(described)
        )
    _said(check, contract)
    _trial(model)


def _said(check: LiveCheck | None, contract: Contract) -> None:
    if check is None:
        st.markdown(
            "No monitoring check of this version yet. The monitoring DAG makes one every hour, `lab monitor` at once."
        )
        return
    if check.estimated_worse:
        st.warning("The estimate is worse than the test interval: the rows are harder than the test rows.")
    if check.passed:
        titles = {feature.name: feature.title for feature in contract.features}
        # The check names a field as the table does.
        first, gap, rest = check.reason.partition(" ")
        reason = f"{titles.get(first, first)}{gap}{rest}"
        st.warning(literal(f"{reason[:1].upper()}{reason[1:]}."))
    truth = counted(check.labelled, "true value")
    known = "" if check.live_score is not None else f"; only {truth} came, too few to measure"
    said = f"Checked {check.checked_at:%Y-%m-%d %H:%M} UTC on {counted(check.rows, 'prediction')}{known}."
    st.markdown(f":small[{said}]")


def _trial(model: ServedModel) -> None:
    if (trial := model.trial) is None:
        return
    if trial.error:
        st.warning(literal(f"A trial doesn't run: {trial.error}"))
    elif trial.kind == "canary":
        st.info(f"**Canary:** version {trial.version} answers {trial.share or 0:.0%} of the requests.")
    else:
        st.info(f"**Shadow:** version {trial.version} predicts the same rows, and answers nobody.")


def _drift(newest: Scrape, contract: Contract) -> None:
    st.subheader(
        "Drift of live traffic",
        anchor=False,
        help="How differently the served rows are distributed from the training rows, field by field. "
        "Below 0.1 is usually called stable.",
    )
    rows = int(newest.one("feature_drift_rows", use_case=contract.use_case) or 0)
    frame = ui_live.drift(newest, contract)
    if frame.empty:
        st.markdown(
            f"Computed from {contract.retrain.min_drift_rows:,} served rows on; {rows:,} came since the model was "
            "loaded."
        )
        return
    over = frame[frame["state"] != "within"]["feature"].tolist()
    bound = contract.retrain.psi
    said = (
        f"{counted(len(over), 'field')} over the bound of {bound:g}"
        if over
        else f"no field over the bound of {bound:g}"
    )
    st.altair_chart(
        ui_live.drift_chart(frame, bound),
        alt=literal(f"Stability index of the fields that moved most; {said}"),
    )
    st.markdown(f":small[{counted(rows, 'served row')}, {said}.]")


page()
