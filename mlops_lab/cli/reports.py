"""The commands that read: status, predictions, lineage, use cases."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mlops_lab.cli.app import (
    AsJson,
    UseCaseName,
    app,
    print_json,
    print_line,
    read_settings,
    reading_lab,
    show_faults,
    use_case_names,
    use_cases_of,
)
from mlops_lab.errors import LabError
from mlops_lab.local.command import err, out


@app.command("status")
def show_status(
    use_case: Annotated[
        str | None, typer.Argument(help="default: all use cases", autocompletion=use_case_names)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The champion, its scores, the batches and their decisions.

    Example: lab status housing --json
    """
    from mlops_lab.cli.status_table import show
    from mlops_lab.status import status

    with reading_lab() as lab:
        known, faults = use_cases_of(lab.settings)
        names = [use_case] if use_case else list(known)
        entries: list[dict[str, Any]] = []
        away: dict[str, str] = {}
        for name in names:
            entries.append(status(lab, name, away))
            if not as_json:
                show(entries[-1], out)
    if as_json:
        print_json(entries)
    show_faults(faults)
    for fault in [fault for entry in entries for fault in entry["unknown"].values()][:1]:
        raise LabError(fault)


@app.command()
def predict(
    use_case: UseCaseName,
    rows: Annotated[
        str | None, typer.Argument(help="a JSON object or list, a file of it, a .csv file, or - for input")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
) -> None:
    """Predicts with the champion; without rows, the contract's example.

    Example: lab predict housing rows.csv --csv > predictions.csv
    """
    from mlops_lab.formatting import counted, show
    from mlops_lab.tabular import csv_lines, prediction_columns

    with reading_lab() as lab:
        champion = lab.champion(lab.use_case(use_case).name)
        predictor = lab.predictor(champion)
    contract = predictor.contract
    found = _read_rows(rows, [feature.name for feature in contract.features]) if rows else [contract.example]
    result = predictor.predict(found)
    if as_json:
        print_json(
            {
                "predictions": result.values,
                "probabilities": result.probabilities,
                "model": {"name": use_case, "version": champion.version},
            }
        )
    elif as_csv:
        columns = prediction_columns([], result.values, contract.classes, result.probabilities)
        del columns["prediction_id"]
        print(csv_lines(columns).decode(), end="")
    else:
        for value in result.values:
            out.print(
                f"{contract.target.title}: {show(contract.target, value)} {contract.target.unit or ''}".rstrip()
            )
        err.print(f"[dim]{counted(len(found), 'row')}, by version {champion.version}[/dim]")


@app.command()
def trace(
    prediction: Annotated[
        str | None, typer.Argument(help="id of a prediction, from /predict's reply")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="a batch instead: `id` in `lab status --json`")] = None,
    as_json: AsJson = False,
) -> None:
    """Follows a prediction to its model, run, batches and payloads; or a batch to its run, versions and payload.

    Example: lab trace 01a2104ef770187e9677e0639e4ddddc
    """
    from mlops_lab import trace

    with reading_lab() as lab:
        if prediction is not None and batch is None:
            result = trace.trace_prediction(lab, prediction)
            lines = trace.lines(result)
        elif batch is not None and prediction is None:
            lab.store.create_tables()
            result = trace.trace_batch(lab, lab.ledger.batch(batch))
            lines = trace.batch_lines(result)
        else:
            raise LabError(
                "name a prediction or, with --batch, a batch by its id in the ledger: `id` in `lab status --json`"
            )
    if as_json:
        print_json(result)
    else:
        for line in lines:
            print_line(line)


@app.command(name="use-cases")
def use_cases(as_json: AsJson = False) -> None:
    """The use cases in the folder, and what is wrong with files that can't be used.

    Example: lab use-cases
    """
    read, faults = use_cases_of(read_settings())
    if as_json:
        columns = ("name", "title", "task", "dataset")
        listed = [{column: getattr(entry, column) for column in columns} for entry in read.values()]
        print_json({"use_cases": listed, "faults": faults})
        return
    table = Table(box=None)
    for title in ("name", "title", "task", "candidates"):
        table.add_column(title, overflow="fold")
    for entry in read.values():
        table.add_row(entry.name, entry.title, entry.task, ", ".join(c.name for c in entry.candidates))
    out.print(table)
    show_faults(faults)


def _read_rows(text: str, names: list[str]) -> list[dict[str, Any]]:
    """Rows of JSON or of a CSV file. names: the model's features; a file's other columns are left out."""
    if text.lower().endswith(".csv"):
        return _csv_rows(Path(text), names)
    if text == "-":
        source = sys.stdin.read()
    elif text.lstrip().startswith(("{", "[")):
        source = text
    else:
        try:
            source = Path(text).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise LabError(
                f"there is no file {text}; rows are a JSON object or list, a file of it, or -"
            ) from None
        except UnicodeDecodeError:
            raise LabError(f"{text} isn't a text file; rows are a JSON object or list") from None
    try:
        rows = json.loads(source)
    except ValueError as error:
        raise LabError(f"the rows aren't JSON ({error})") from None
    rows = rows if isinstance(rows, list) else rows.get("rows", [rows]) if isinstance(rows, dict) else [rows]
    if not all(isinstance(row, dict) for row in rows):
        raise LabError("each row must be a JSON object of field and value")
    if not rows:
        raise LabError("there is no row to predict")
    return rows


def _csv_rows(file: Path, names: list[str]) -> list[dict[str, Any]]:
    from mlops_lab.draft.table import read_table

    table = read_table(file)
    notes = list(table.notes)
    if others := [str(name) for name in table.frame if name not in names]:
        notes.append(f"columns that the model doesn't have are left out: {', '.join(others)}")
    for note in notes:
        err.print(f"[dim]{escape(note)}[/dim]", soft_wrap=True)
    found: list[Any] = table.frame.drop(columns=others).to_dict("records")
    return found
