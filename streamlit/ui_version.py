"""One version on the Models page: the candidates of its training, its model card, its pictures."""

import re

import ui_runs
import ui_versions
from ui_tracking import NotFoundError, Run

import streamlit as st
from mlops_lab.client import ModelVersion
from mlops_lab.contract import Contract
from mlops_lab.errors import LabError
from mlops_lab.form import metric_title
from mlops_lab.formatting import literal
from mlops_lab.model.card import card

# The plots of a candidate's run: title, and what there is to see.
PICTURES = {
    "shap_summary": (
        "What moves the predictions",
        "One dot for each test row and field: how far the field moved that prediction. The upper fields matter most.",
    ),
    "predicted": (
        "Predicted against true",
        "One dot for each test row. On the line the prediction is right, above it too high.",
    ),
    "errors": (
        "Errors",
        "How many test rows are how far off. Left of 0 the prediction is too low.",
    ),
    "curves": (
        "Hits against false alarms",
        "Left, the share of true rows found against that of false alarms; right, precision against recall. "
        "The dot is the threshold in use.",
    ),
    "calibration": (
        "Calibration",
        "How often what the model gives a probability comes true. On the line, as often as it says.",
    ),
    "confusion": (
        "Confusion matrix",
        "How many test rows of each class (line) get which answer (column). On the diagonal the answer is right.",
    ),
}
# Pictures of one height. They are drawn on white, which a dark page turns around without a change of the hues.
STYLE = "<style>.st-key-pictures img {height: 18rem; object-fit: contain; background: white; {dark}}</style>"
DARK = "filter: invert(0.93) hue-rotate(180deg)"


def candidates(runs: list[Run], versions: list[ModelVersion], metric: str) -> None:
    """The candidates of one training, side by side."""
    unit = next((contract.target.unit for contract in [_contract_of(runs[0])] if contract), None) or ""
    table = ui_versions.candidate_table(runs, {v.run_id: v.version for v in versions}, metric, unit)
    st.markdown(
        ":small[The candidates of the same training, the best by validation first; the other scores are on test rows.]"
    )
    column = st.column_config
    st.dataframe(
        table,
        hide_index=True,
        alt="Candidates of the same training with their scores.",
        column_config={
            "candidate": column.TextColumn("Candidate", pinned=True),
            "version": column.TextColumn("Version"),
            "validation": column.TextColumn(f"Validation: {metric_title(metric)}"),
            "note": "Note",
        },
    )


def _contract_of(run: Run) -> Contract | None:
    """None where it can't be read; whoever needs more than a unit says so."""
    try:
        return ui_runs.contract(run.id)
    except LabError:
        return None


def model_card(version: ModelVersion) -> None:
    text = card(ui_runs.contract(version.run_id), version.version, version.facts)
    # Beneath the page's own headings.
    st.markdown(re.sub(r"^#", "###", text, flags=re.MULTILINE))


def pictures(run: Run) -> None:
    if not (paths := ui_runs.pictures(run.id)):
        st.caption("This run has no plots.")
        return
    st.html(STYLE.replace("{dark}", DARK if st.context.theme.type == "dark" else ""))
    with st.container(key="pictures"):
        for start in range(0, len(paths), 2):
            for cell, path in zip(st.columns(2), paths[start : start + 2], strict=False):
                name = path.rpartition("/")[2].removesuffix(".png")
                title, about = PICTURES.get(name, (name.replace("_", " ").capitalize(), ""))
                with cell, st.container(border=True):
                    st.markdown(f"**{literal(title)}**")
                    try:
                        st.image(ui_runs.picture(run.id, path), width="stretch", alt=f"{title}. {about}")
                    except NotFoundError as error:
                        st.caption(literal(error))
                    if about:
                        st.markdown(f":small[{about}]")
