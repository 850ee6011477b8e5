"""Own data: a use case drafted from a person's own table, as `lab new` does it, to be looked at and created."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import ui_create
from ui_upload import MAX_MB, kept, name_of_upload, on_disk

import streamlit as st
from mlops_lab.contract import USE_CASE_NAME
from mlops_lab.draft.choose import Draft, choose, name_of
from mlops_lab.draft.columns import Column
from mlops_lab.draft.table import Table, read_table
from mlops_lab.draft.text import accepted, use_case_text
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted, literal

# Rows of the preview.
FIRST = 5
TASKS = {"regression": "a number", "binary": "yes or no", "multiclass": "one of several classes"}


@st.fragment
def page() -> None:
    st.markdown(
        "From a table of yours to a use case: its columns are read, and the file of the use case is drafted."
    )
    upload = st.file_uploader(
        f"A table with a header: CSV (any separator, also gzipped) or Parquet, up to {MAX_MB} MB",
        type=["csv", "tsv", "txt", "gz", "parquet", "pq"],
        max_upload_size=MAX_MB,
    )
    if upload is None:
        st.caption("The same in a terminal, for a file of any size:")
        st.code("lab new FILE.csv --target COLUMN", language=None)
        return
    try:
        table: Table = kept("own data table", (upload.file_id,), lambda: _read(upload))
        st.caption(literal(f"{counted(len(table.frame), 'row')}, the first ones:"))
        st.dataframe(table.frame.head(FIRST), hide_index=True)
        for note in table.notes:
            st.caption(literal(f"{note[0].upper()}{note[1:]}."))
        if (asked := _ask(upload, table)) is None:
            return
        target, name, more = asked
        key, file = (upload.file_id, target, name, str(more)), name_of_upload(upload)
        with st.spinner("Reading the columns"):
            draft: Draft = kept("own data draft", key, lambda: _draft(table, file, target, name, more))
        _show(draft)
        _offer(draft, table, upload, key, more)
    except LabError as error:
        st.error(literal(error), icon=":material/error:")


def _read(upload: Any) -> Table:
    with on_disk(upload) as path:
        # Unpacked, too: a table takes about twelve times that in memory.
        return read_table(path, MAX_MB * 2**20)


def _ask(upload: Any, table: Table) -> tuple[str, str, dict[str, Any]] | None:
    """(target, name, the other options of `lab new`) as the person chose them; None before there is a target."""
    names = [str(column) for column in table.frame]
    left, right = st.columns(2)
    target = left.selectbox(
        "Column to predict", names, index=None, placeholder="choose one", key=f"target {names}"
    )
    name = right.text_input(
        "Name of the use case", name_of(upload.name), max_chars=40, key=f"name {upload.file_id}"
    )
    with st.expander("Decide otherwise than the draft"):
        others = [column for column in names if column != target]
        group = st.multiselect("Rows belong together by", others, key=f"group {others}")
        leave_out = st.multiselect("Leave out", others, key=f"leave out {others}")
        task = st.selectbox(
            "Learn it as",
            list(TASKS),
            index=None,
            format_func=lambda task: TASKS[task],
            placeholder="by its values",
        )
    if target is None:
        return None
    if not USE_CASE_NAME.fullmatch(name):
        st.error("A name has up to 40 lower-case letters, digits and _, and begins with a letter.")
        return None
    return target, name, {"group": group, "leave-out": leave_out, "task": task or ()}


def _draft(table: Table, file: str, target: str, name: str, more: dict[str, Any]) -> Draft:
    return choose(
        table,
        file,
        name,
        target,
        group=more["group"],
        leave_out=more["leave-out"],
        task=more["task"] or None,
    )


def _show(draft: Draft) -> None:
    st.subheader("The draft", anchor=False)
    st.markdown(literal(draft.summary))
    if draft.group_key:
        st.info(
            literal(
                f"Rows that belong together stay in one split, by {', '.join(draft.group_key)}: {draft.group_reason}."
            ),
            icon=":material/join_inner:",
        )
    rows = [_line(column, "group key") for column in draft.extra]
    rows += [_line(column, column.kind or "") for column in draft.features]
    rows += [_line(column, "left out") for column in draft.left_out]
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    st.caption(
        "Units, titles and descriptions are yours to add in the file. Rows beyond what is accepted go to quarantine."
    )
    if look := [line for line in draft.look if not line.startswith("the group key ")]:
        st.markdown("**Look at**\n" + "".join(f"\n- {literal(line)}" for line in look))


def _line(column: Column, kind: str) -> dict[str, str]:
    missing = f"{column.missing / column.rows:.0%}" if column.missing else ""
    takes = accepted(column) if kind not in ("group key", "left out") else ""
    return {
        "Column": column.name,
        "Is": kind,
        "Seen": column.seen,
        "Missing": missing,
        "Accepted": takes,
        "Why": column.note,
    }


def _offer(draft: Draft, table: Table, upload: Any, key: tuple[str, ...], more: dict[str, Any]) -> None:
    """The file, and a button that creates it, or where this page may not write, both files and what to do."""
    name, text = draft.name, use_case_text(draft)
    with st.expander(f"The file {name}.py"):
        st.code(text, language=None)
    if not ui_create.can_create():
        with st.container(horizontal=True):
            _download(f"{name}.py", text, "text/x-python")
            _download(f"{name}.csv", lambda: table.frame.to_csv(index=False), "text/csv")
        st.markdown(
            f"This page can't write here. Put `{name}.py` into `use_cases/`, and `{name}.csv` into the folder of the "
            "Data API: `data/` of the stack, `.lab/data/` without Docker. Then, in a terminal:"
        )
        st.code(f"lab check {name}\nlab run {name}", language=None)
        return
    if st.button(f"Create {name}", type="primary"):
        with st.spinner("Writing and checking it"), on_disk(upload) as path:
            st.session_state["own data created"] = (
                key,
                ui_create.create(path, draft.target.name, name, more),
            )
    created = st.session_state.get("own data created")
    if created and created[0] == key:
        st.success(
            f"{name} is created. Train it by `lab run {name}` in a terminal, or switch on its DAG "
            f"`{name}_training` in Airflow, which appears within half a minute."
        )
        with st.expander("What was written and checked"):
            st.code(created[1], language=None)


def _download(name: str, content: str | Callable[[], str], kind: str) -> None:
    st.download_button(f"Download {name}", content, name, kind, on_click="ignore", icon=":material/download:")


page()
