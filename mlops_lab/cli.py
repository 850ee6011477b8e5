"""The command `lab`: runs the loop or single steps, and reports on them."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from mlops_lab.errors import LabError
from mlops_lab.formatting import counted
from mlops_lab.local.command import Commands, err, out
from mlops_lab.local.signals import raise_if_stopped
from mlops_lab.settings import Settings
from mlops_lab.use_case import get_use_case, read_use_cases

if TYPE_CHECKING:
    from mlops_lab.lab import Lab


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=__doc__,
    add_completion=False,
)
data = typer.Typer(no_args_is_help=True, help="The public data sets.")
app.add_typer(data, name="data")

UseCaseName = Annotated[str, typer.Argument(help="name of a use case; `lab use-cases` lists them")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command()
def run(
    use_case: UseCaseName,
    batches: Annotated[int | None, typer.Option(help="stop after so many; default: at the end")] = None,
) -> None:
    """The whole loop in this process, batch by batch, without Airflow."""
    from mlops_lab.local.embedded import data_api
    from mlops_lab.loop import run_loop
    from mlops_lab.status import show, status

    settings, started = Settings(), time.monotonic()

    def progress(line: str) -> None:
        out.print(f"[dim]{time.monotonic() - started:7.1f}s[/dim]  {escape(line)}", soft_wrap=True)

    with data_api(settings, progress) as reachable:
        lab = _lab(reachable, progress)
        run_loop(lab, lab.use_case(use_case), batches)
    show(status(lab, use_case), out)


@app.command()
def train(
    use_case: UseCaseName,
    force: Annotated[
        bool, typer.Option("--force", help="train, also when the policy decides against it")
    ] = False,
) -> None:
    """Trains on the stored rows; without --force only when the use case's retrain policy requires it."""
    from mlops_lab.loop import train_now

    lab = _lab(Settings(), lambda line: out.print(line, soft_wrap=True))
    result = train_now(lab, lab.use_case(use_case), force)
    out.print(result.reason, soft_wrap=True)


@app.command("status")
def show_status(
    use_case: Annotated[str | None, typer.Argument(help="default: all use cases")] = None,
    as_json: AsJson = False,
) -> None:
    """The champion, its scores, the batches and their decisions."""
    from mlops_lab.status import show, status

    lab = _lab(Settings())
    names = [use_case] if use_case else list(read_use_cases(lab.settings.use_cases)[0])
    entries = []
    for name in names:
        entries.append(status(lab, name))
        if not as_json:
            show(entries[-1], out)
    if as_json:
        _print_json(entries)
    for fault in [fault for entry in entries for fault in entry["unknown"].values()][:1]:
        raise LabError(fault)


@app.command()
def predict(
    use_case: UseCaseName,
    rows: Annotated[str | None, typer.Argument(help="a JSON object or list, a file, or - for input")] = None,
    as_json: AsJson = False,
) -> None:
    """Predicts with the champion; without rows, the contract's example."""
    lab = _lab(Settings())
    predictor = lab.predictor(lab.champion(lab.use_case(use_case).name))
    result = predictor.predict(_read_rows(rows) if rows else [predictor.contract.example])
    if as_json:
        print(json.dumps({"predictions": result.values, "probabilities": result.probabilities}))
    else:
        target = predictor.contract.target
        for value in result.values:
            out.print(f"{target.title}: {value} {target.unit or ''}".rstrip())


@app.command()
def trace(
    prediction: Annotated[
        str | None, typer.Argument(help="id of a prediction, from /predict's reply")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="id of a batch in the ledger, instead")] = None,
    as_json: AsJson = False,
) -> None:
    """Follows a prediction to its model, run, batches and payloads; or a batch to its run, versions and payload."""
    from mlops_lab import trace

    lab = _lab(Settings())
    if prediction is not None and batch is None:
        result = trace.trace_prediction(lab, prediction)
        lines = trace.lines(result)
    elif batch is not None and prediction is None:
        lab.store.create_tables()
        result = trace.trace_batch(lab, lab.ledger.batch(batch))
        lines = trace.batch_lines(result)
    else:
        raise LabError("name a prediction or, with --batch, a batch of the ledger; `lab status` lists those")
    if as_json:
        _print_json(result)
    else:
        for line in lines:
            out.print(line, soft_wrap=True, markup=False)


@app.command()
def monitor(use_case: UseCaseName, as_json: AsJson = False) -> None:
    """Compares recent predictions with the champion's training data, and says whether to train again."""
    from mlops_lab.monitor import monitor

    lab = _lab(Settings())
    result = monitor(lab, lab.use_case(use_case))
    if as_json:
        _print_json(result.as_json())
    else:
        report = f"\nreport: run {result.check.run_id}" if result.check.run_id else ""
        out.print(result.check.reason + report, soft_wrap=True)


@app.command()
def rollback(
    use_case: UseCaseName,
    to: Annotated[int | None, typer.Option(help="version; default: the previous champion")] = None,
) -> None:
    """Makes an earlier version champion again."""
    from mlops_lab.steps.promote import roll_back

    lab = _lab(Settings())
    version = roll_back(lab, lab.use_case(use_case), to)
    out.print(f"version {version} is the champion of {use_case}; the service follows within seconds")


@app.command()
def reset(
    use_case: UseCaseName, yes: Annotated[bool, typer.Option("--yes", help="don't ask")] = False
) -> None:
    """Removes all rows, models and runs of a use case and restarts its data. Logged predictions stay."""
    from mlops_lab.local.embedded import data_api
    from mlops_lab.steps.ingest import reset as reset_use_case

    settings = Settings()
    definition = get_use_case(settings.use_cases, use_case)
    if not yes and not typer.confirm(f"Remove every row, model and run of {use_case}?"):
        raise typer.Exit(1)
    with data_api(settings, lambda _: None) as reachable:
        reset_use_case(_lab(reachable), definition)
    out.print(f"{use_case} was reset; its data starts again with the first batch")


@app.command()
def retry(
    use_case: UseCaseName,
    batch: Annotated[int | None, typer.Option(help="its number in `lab status`; default: all")] = None,
) -> None:
    """Opens broken batches again, after what broke them was mended; the next run of the loop takes them up."""
    from mlops_lab.steps.attempts import retry

    lab = _lab(Settings())
    opened = retry(lab, lab.use_case(use_case), batch)
    out.print(f"{counted(opened, 'batch', 'batches')} opened again; `lab run {use_case}` takes them up")


@app.command()
def migrate() -> None:
    """Brings the tables to this release: the lab's own, and those of each use case with data. No value is deleted."""
    from mlops_lab.data.database import StoreError

    lab = _lab(Settings())
    earlier = lab.store.create_tables()
    out.print(f"RawData: migrated from revision {earlier}" if earlier else "RawData: nothing to change")
    definitions, faults = read_use_cases(lab.settings.use_cases)
    for use_case in definitions.values():
        if lab.ledger.batches(use_case.name):
            try:
                changes = lab.store.prepare_tables(use_case)
            except StoreError as error:
                faults[use_case.name] = str(error)
                continue
            for line in [*changes, *lab.store.undeclared(use_case)]:
                out.print(line, soft_wrap=True)
    # They keep only their own use case from running, so the command succeeds.
    for name, fault in faults.items():
        err.print(f"[red]{name} can't be used:[/red] {fault}", soft_wrap=True)


@app.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would go and why")] = False,
) -> None:
    """Deletes what is past its time: predictions and feedback after LAB_PREDICTIONS_DAYS."""
    from mlops_lab.retention import clean

    clean(_lab(Settings(), lambda line: out.print(line, soft_wrap=True)), dry_run)


@app.command()
def backup(folder: Annotated[Path, typer.Argument(help="a new folder, outside of LAB_HOME")]) -> None:
    """Copies the whole lab of LAB_HOME into a folder, also while it runs."""
    from mlops_lab.local.backup import backup

    backup(Settings(), folder, lambda line: out.print(line, soft_wrap=True))


@app.command()
def restore(folder: Annotated[Path, typer.Argument(help="a folder that `lab backup` made")]) -> None:
    """Makes LAB_HOME, which must be new or empty, of a backup. A damaged backup is refused, and nothing is written."""
    from mlops_lab.local.backup import restore

    restore(Settings(), folder, lambda line: out.print(line, soft_wrap=True))


@app.command(name="use-cases")
def use_cases(as_json: AsJson = False) -> None:
    """The use cases in the folder, and what is wrong with files that can't be used."""
    read, faults = read_use_cases(Settings().use_cases)
    if as_json:
        columns = ("name", "title", "task", "dataset")
        listed = [{column: getattr(entry, column) for column in columns} for entry in read.values()]
        _print_json({"use_cases": listed, "faults": faults})
        return
    table = Table("name", "title", "task", "candidates", box=None)
    for entry in read.values():
        table.add_row(entry.name, entry.title, entry.task, ", ".join(c.name for c in entry.candidates))
    out.print(table)
    for file, fault in faults.items():
        err.print(f"[red]{file} can't be used:[/red] {fault}", soft_wrap=True)


@app.command()
def demo(
    use_case: Annotated[str | None, typer.Argument(help="default: LAB_DEFAULT_USE_CASE")] = None,
    once: Annotated[bool, typer.Option("--once", help="stop everything when the loop is over")] = False,
    batches: Annotated[int | None, typer.Option(help="stop the loop after so many batches")] = None,
    gradio: Annotated[bool, typer.Option("--gradio", help="start the Gradio page too")] = False,
) -> None:
    """Boots Airflow, MLflow, Data API, inference and Streamlit, and runs the loop in them."""
    from mlops_lab.local.demo import run_demo

    settings = Settings()
    definition = get_use_case(settings.use_cases, use_case or settings.default_use_case)
    run_demo(settings, definition, once, batches, gradio)


@data.command()
def download(
    dataset: Annotated[str | None, typer.Argument(help="default: all data sets")] = None,
    folder: Annotated[Path | None, typer.Option(help="default: LAB_HOME/data")] = None,
) -> None:
    """Downloads the public data sets from their publishers; the Data API then serves them instead of synthetic data."""
    from mlops_lab.data.download import DATASETS, download

    target = folder or Settings().home / "data"
    for name in [dataset] if dataset else DATASETS:
        with err.status(f"{name} …") as shown:
            path = download(name, target, partial(_show, shown, name))
        out.print(f"{name}: {path}", soft_wrap=True)


def _show(status: Status, name: str, done: int, total: int | None) -> None:
    status.update(f"{name} {done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else ""))


def _lab(settings: Settings, progress: Callable[[str], None] = lambda _: None) -> "Lab":
    from mlops_lab.lab import Lab

    def line(text: str) -> None:
        raise_if_stopped()
        progress(text)

    return Lab(settings, line)


def _read_rows(text: str) -> list[dict[str, Any]]:
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
    return rows


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str))


if __name__ == "__main__":
    app()
