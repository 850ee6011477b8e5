"""The commands for a person's own data: a use case from a file, its check, and what went to quarantine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as Grid

from mlops_lab.cli.app import (
    AsJson,
    UseCaseName,
    app,
    need_lab,
    print_json,
    print_line,
    read_settings,
    reading_lab,
    use_case_of,
    use_cases_of,
)
from mlops_lab.errors import LabError
from mlops_lab.files import dataset_name, write_whole
from mlops_lab.formatting import counted
from mlops_lab.local.command import out

if TYPE_CHECKING:
    from mlops_lab.draft.check import Broken, DataCheck
    from mlops_lab.draft.choose import Draft
    from mlops_lab.settings import Settings


# Columns of a table that are listed.
SHOWN = 40


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="a table: CSV (any separator, plain or .gz) or Parquet")],
    target: Annotated[str, typer.Option(help="the column to predict")],
    name: Annotated[str | None, typer.Option(help="of the use case; default: from the file's name")] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="a column that says which rows belong together; may be repeated")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="a column to leave out; may be repeated")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="regression, binary or multiclass; default: by the target's values")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Writes a use case from a file with a header, and puts the file where the Data API serves it.

    Example: lab new houses.csv --target price
    """
    from mlops_lab.draft.check import DataCheck
    from mlops_lab.draft.choose import DraftError, choose, name_of
    from mlops_lab.draft.table import read_table
    from mlops_lab.draft.text import use_case_text

    settings = read_settings()
    if task not in (None, "regression", "binary", "multiclass"):
        raise DraftError(f"--task is {task}; it must be regression, binary or multiclass")
    table = read_table(file)
    name = name or name_of(file.name)
    place, data = _places(settings, name)
    draft = choose(table, file.name, name, target, group=group or (), leave_out=leave_out or (), task=task)
    text = use_case_text(draft)
    write_whole(place, text)
    try:
        found = DataCheck()
        found.add(use_case_of(settings, name), table.frame)
        write_whole(data, table.frame.to_csv(index=False))
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    look = [*table.notes, *draft.look]
    if as_json:
        print_json({**_drafted(draft, look), **_checked(found), "file": str(place), "data": str(data)})
        return
    _show(draft, found, look)
    print_line(f"\nwrote {place}\nwrote {data}")
    print_line(f"next: look at that file, then `lab check {name}`, then `lab run {name}`")


@app.command()
def check(use_case: UseCaseName, as_json: AsJson = False) -> None:
    """Reads the data set against the use case, without training: what would go to quarantine, and why.

    Example: lab check wine
    """
    from mlops_lab.draft.check import check_data
    from mlops_lab.local.embedded import data_api

    settings = need_lab(read_settings())
    definition = use_case_of(settings, use_case)
    with data_api(settings, lambda line: None) as reachable:
        found = check_data(definition, reachable.data_api_url)
    if as_json:
        print_json(_checked(found))
    else:
        print_line(_counts(found))
        _show_broken(found.broken)
    if found.rows == found.quarantined:
        raise LabError(f"every row of {use_case} would go to quarantine; correct the use case or the file")


@app.command()
def quarantine(
    use_case: UseCaseName,
    batch: Annotated[int | None, typer.Option(help="its number in `lab status`; default: all")] = None,
    as_json: AsJson = False,
) -> None:
    """The rows that went to quarantine, by column and rule, with an example of each.

    Example: lab quarantine housing --batch 2
    """
    with reading_lab() as lab:
        definition = lab.use_case(use_case)
        batches = [one for one in lab.ledger.batches(use_case) if batch in (None, one.batch_number)]
        if not batches:
            raise LabError(f"{use_case} has no batch{'' if batch is None else f' {batch}'} yet")
        found = lab.store.quarantined(definition, [one.id for one in batches])
    if as_json:
        print_json([vars(one) for one in found])
    elif found:
        _show_broken(found)
    else:
        print_line("no row is in quarantine")


def _places(settings: "Settings", name: str) -> tuple[Path, Path]:
    """(the use case's file, the data's file). Raises `LabError` when one of them is taken."""
    place = settings.use_cases / f"{name}.py"
    data = (settings.datos_folder or settings.home / "data") / f"{name}.csv"
    if name in use_cases_of(settings)[0] or place.exists():
        raise LabError(f"the use case {name} exists already; choose another name by --name")
    if (known := dataset_name(data.name)) != name:
        raise LabError(
            f"a file {data.name} would replace the data set {known}; choose another name by --name"
        )
    if data.exists() or data.with_suffix(".csv.gz").exists():
        raise LabError(f"{data} exists already; remove it, or choose another name by --name")
    return place, data


def _checked(found: "DataCheck") -> dict[str, Any]:
    return {**vars(found), "broken": [vars(one) for one in found.broken]}


def _drafted(draft: "Draft", look: list[str]) -> dict[str, Any]:
    return {
        "use_case": draft.name,
        "task": draft.task,
        "target": draft.target.name,
        "metric": draft.metric,
        "features": {column.name: column.kind for column in draft.features},
        "group_key": draft.group_key,
        "left_out": {column.name: column.note for column in draft.left_out},
        "look_at": look,
    }


def _show(draft: "Draft", found: "DataCheck", look: list[str]) -> None:
    print_line(draft.summary)
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for title in ("column", "is", "seen"):
        grid.add_column(title, overflow="fold")
    used = [*draft.extra, *draft.features]
    for column in used[:SHOWN]:
        kind = "group key" if column in draft.extra else column.kind or ""
        grid.add_row(escape(column.name), kind, escape(column.seen))
    if len(used) > SHOWN:
        grid.add_row(f"and {len(used) - SHOWN} more", "", "")
    for column in draft.left_out[:SHOWN]:
        grid.add_row(
            f"[dim]{escape(column.name)}[/dim]", "[dim]left out[/dim]", f"[dim]{escape(column.note)}[/dim]"
        )
    out.print(grid)
    print_line(_counts(found))
    _show_broken(found.broken)
    if look:
        out.print("[bold]look at[/bold]")
        for line in look:
            out.print(f"  {escape(line)}", soft_wrap=True)


def _counts(found: "DataCheck") -> str:
    splits = ", ".join(f"{count:,} {split}" for split, count in sorted(found.splits.items()))
    dropped = f", {found.dropped:,} dropped" if found.dropped else ""
    return f"{counted(found.rows, 'row')}: {found.quarantined:,} to quarantine{dropped}; clean: {splits or 'none'}"


def _show_broken(broken: "list[Broken]") -> None:
    if not broken:
        return
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for title in ("rows", "column", "rule", "the first one"):
        grid.add_column(title, overflow="fold", justify="right" if title == "rows" else "left")
    for one in broken:
        grid.add_row(f"{one.rows:,}", escape(one.column), one.rule, escape(one.message))
    out.print(grid)
