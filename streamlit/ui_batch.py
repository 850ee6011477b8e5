"""Predictions for the rows of an uploaded file: its first rows, progress, what is wrong with which row, the result.

The file is read and checked as `lab score` does it, and the rows go to the service in chunks.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd
import ui_frame
from ui_upload import MAX_MB, kept, name_of_upload, on_disk

import streamlit as st
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError
from mlops_lab.formatting import counted, literal
from mlops_lab.scoring.over_http import MAX_ROWS, MAX_SHOWN, Answer, count_rows, score_over_http
from mlops_lab.scoring.source import ENDINGS, Source, SourceError, open_source

# Rows of the preview.
FIRST = 5


@dataclass(frozen=True)
class Look:
    """An uploaded file at a glance, or what is wrong with it. left_out: its columns that the model doesn't have."""

    rows: int = 0
    first: pd.DataFrame | None = None
    left_out: str = ""
    fault: str = ""


def file_rows(contract: Contract) -> None:
    """The part of the page Predict for a file of rows."""
    with st.expander("Predict the rows of a file", icon=":material/upload_file:"):
        upload = st.file_uploader(
            f"CSV (also gzipped) or Parquet, with a header, up to {MAX_MB} MB and {MAX_ROWS:,} rows",
            type=["csv", "gz", "parquet"],
            max_upload_size=MAX_MB,
            key=f"{contract.use_case} rows",
        )
        if upload is None:
            st.caption("For larger files, in a terminal:")
            st.code(f"lab score {contract.use_case} FILE", language=None)
            return
        look = kept(_slot(contract, "look"), (upload.file_id,), lambda: _look(contract, upload))
        if look.fault:
            st.error(literal(look.fault), icon=":material/error:")
            return
        st.caption(f"{counted(look.rows, 'row')}, the first ones:")
        st.dataframe(look.first, hide_index=True)
        if look.left_out:
            st.caption(literal(f"Not read, because the model has no such field: {look.left_out}"))
        if st.button(f"Predict {counted(look.rows, 'row')}", key=f"{contract.use_case} predict rows"):
            st.session_state[_slot(contract, "answer")] = (upload.file_id, _predict(contract, upload, look))
        answer = st.session_state.get(_slot(contract, "answer"))
        if answer and answer[0] == upload.file_id:
            _show(answer[1], name_of_upload(upload))


def _look(contract: Contract, upload: Any) -> Look:
    try:
        with _opened(contract, upload) as source:
            rows = count_rows(source, name_of_upload(upload), contract.use_case)
            first = [row for row in islice(source.rows(0), FIRST) if not isinstance(row, ContractError)]
            left_out = ", ".join(source.left_out[:20])
    except SourceError as error:
        return Look(fault=str(error))
    return Look(rows, pd.DataFrame(first), left_out)


def _predict(contract: Contract, upload: Any, look: Look) -> Answer:
    bar = st.progress(0.0)

    def report(done: int) -> None:
        bar.progress(done / look.rows, f"{done:,} of {counted(look.rows, 'row')}")

    report(0)
    try:
        with _opened(contract, upload) as source:
            return score_over_http(ui_frame.inference(), contract, source, report)
    except SourceError as error:  # a newer champion needs a column that the file doesn't have
        return Answer(stopped=str(error))
    finally:
        bar.empty()


def _show(answer: Answer, name: str) -> None:
    versions = ", ".join(map(str, answer.versions))
    refused = f", {answer.refused_rows:,} refused" if answer.refused_rows else ""
    if answer.stopped:
        st.warning(literal(f"Stopped: {answer.stopped}"), icon=":material/cloud_off:")
    if answer.rows:
        st.success(f"{counted(answer.rows, 'row')} predicted by version {versions}{refused}.")
    elif answer.refused_rows:
        st.error(f"Every row is refused: {counted(answer.refused_rows, 'row')}.")
    stem = re.sub(r"\.(csv(\.gz)?|parquet)$", "", name, flags=re.IGNORECASE)
    with st.container(horizontal=True):
        if answer.rows:
            _download("Download the predictions", answer.predictions, f"{stem}.predictions.csv")
        if answer.refused_rows:
            _download("Download what was refused", answer.refused, f"{stem}.refused.csv")
    if answer.faults:
        st.dataframe(
            pd.DataFrame(answer.faults)[["row", "field", "rule", "message"]],
            hide_index=True,
            column_config={"row": "Row", "field": "Column", "rule": "Rule", "message": "What is wrong"},
        )
        if len(answer.faults) == MAX_SHOWN:
            st.caption(f"The first {MAX_SHOWN:,} problems; the download has all of them.")


def _download(label: str, content: bytes, name: str) -> None:
    st.download_button(label, content, name, "text/csv", on_click="ignore", icon=":material/download:")


@contextmanager
def _opened(contract: Contract, upload: Any) -> Iterator[Source]:
    """The upload as a file of its own name, since Parquet is read from a file."""
    name = name_of_upload(upload)
    if not name.lower().endswith(ENDINGS):
        raise SourceError(f"{name}: rows are a file that ends in {', '.join(ENDINGS)}")
    with on_disk(upload) as path:
        yield open_source(path, contract)


def _slot(contract: Contract, what: str) -> str:
    return f"{contract.use_case} file {what}"
