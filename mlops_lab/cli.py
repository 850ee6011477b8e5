"""The command `lab`: the loop and its parts by hand."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from mlops_lab.errors import LabError, NoModelError
from mlops_lab.settings import Settings
from mlops_lab.use_case import get_use_case, read_use_cases

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__, add_completion=False)
data = typer.Typer(no_args_is_help=True, help="The public data sets.")
app.add_typer(data, name="data")

out, err = Console(highlight=False), Console(stderr=True, highlight=False)
UseCaseName = Annotated[str, typer.Argument(help="name of a use case; `lab use-cases` lists them")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@contextmanager
def clear_errors() -> Iterator[None]:
    """An error that a person can act on is one line, not a traceback."""
    try:
        yield
    except LabError as error:
        err.print(f"[red]error:[/red] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print("stopped")
        raise typer.Exit(130) from None


@app.command()
def run(
    use_case: UseCaseName,
    batches: Annotated[
        int | None, typer.Option(help="stop after so many; default: until the data ends")
    ] = None,
) -> None:
    """The whole loop in this process, batch by batch, without Airflow."""
    from mlops_lab.data.source import EndOfDataError
    from mlops_lab.local.embedded import data_api
    from mlops_lab.loop import run_batch
    from mlops_lab.steps.ingest import KnownBatchError

    with clear_errors():
        settings, started = Settings(), time.monotonic()

        def say(line: str) -> None:
            out.print(f"[dim]{time.monotonic() - started:7.1f}s[/dim]  {line}", soft_wrap=True, markup=True)

        with data_api(settings, say) as reachable:
            lab = _lab(reachable, say)
            found = lab.use_case(use_case)
            done = 0
            while batches is None or done < batches:
                try:
                    run_batch(lab, found)
                except (EndOfDataError, KnownBatchError) as reason:
                    say(f"no further batch: {reason}")
                    break
                done += 1
        _print_status(_status(lab, use_case))


@app.command()
def train(
    use_case: UseCaseName,
    force: Annotated[bool, typer.Option("--force", help="train whatever the policy says")] = False,
) -> None:
    """Trains on the rows that are there; without --force only when the use case's policy asks for it."""
    from mlops_lab.loop import train_now

    with clear_errors():
        lab = _lab(Settings(), lambda line: out.print(line, soft_wrap=True))
        result = train_now(lab, lab.use_case(use_case), force)
        out.print(result.reason, soft_wrap=True)


@app.command()
def status(
    use_case: Annotated[str | None, typer.Argument(help="all of them when left out")] = None,
    as_json: AsJson = False,
) -> None:
    """The champion, its figures, the batches and their decisions."""
    with clear_errors():
        lab = _lab(Settings())
        names = [use_case] if use_case else list(read_use_cases(lab.settings.use_cases)[0])
        found = [_status(lab, name) for name in names]
        if as_json:
            print(json.dumps(found, indent=1, default=str))
        else:
            for entry in found:
                _print_status(entry)


@app.command()
def predict(
    use_case: UseCaseName,
    rows: Annotated[
        str | None, typer.Argument(help="a JSON object or list, a file's name, or - for input")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predicts with the champion; without rows, the contract's example."""
    with clear_errors():
        lab = _lab(Settings())
        predictor = _champion(lab, use_case)
        given = _read_rows(rows) if rows else [predictor.contract.example]
        found = predictor.predict(given)
        if as_json:
            print(json.dumps({"predictions": found.values, "probabilities": found.probabilities}))
        else:
            for value in found.values:
                out.print(
                    f"{predictor.contract.target.title}: {value} {predictor.contract.target.unit or ''}".rstrip()
                )


@app.command()
def trace(
    prediction: Annotated[
        str | None, typer.Argument(help="id of a prediction, as /predict replied it")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="id of a batch in the ledger, instead of a prediction")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follows a prediction to its model, run, batches and payloads; or a batch to its run, versions and payload."""
    from mlops_lab import trace

    with clear_errors():
        if (prediction is None) == (batch is None):
            raise LabError(
                "name a prediction or, with --batch, a batch of the ledger; `lab status` lists those"
            )
        lab = _lab(Settings())
        if batch is None:
            found = trace.trace_prediction(lab, prediction)
            said = trace.lines(found)
        else:
            lab.store.create_tables()
            found = trace.trace_batch(lab, lab.store.batch(batch))
            said = trace.batch_lines(found)
        if as_json:
            print(json.dumps(found, indent=1, default=str))
        else:
            for line in said:
                out.print(line, soft_wrap=True, markup=False)


@app.command()
def monitor(use_case: UseCaseName, as_json: AsJson = False) -> None:
    """Compares what was served with what the champion learnt from, and says whether to train again."""
    from mlops_lab.monitor import monitor

    with clear_errors():
        lab = _lab(Settings())
        found = monitor(lab, lab.use_case(use_case))
        if as_json:
            print(json.dumps(asdict(found), indent=1))
        else:
            out.print(
                f"{found.reason}\nreport: run {found.run_id}" if found.run_id else found.reason,
                soft_wrap=True,
            )


@app.command()
def rollback(
    use_case: UseCaseName,
    to: Annotated[int | None, typer.Option(help="version; default: the previous champion")] = None,
) -> None:
    """Makes an earlier version champion again."""
    from mlops_lab.steps.promote import roll_back

    with clear_errors():
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

    with clear_errors():
        settings = Settings()
        found = get_use_case(settings.use_cases, use_case)
        if not yes and not typer.confirm(f"Remove every row, model and run of {use_case}?"):
            raise typer.Exit(1)
        with data_api(settings, lambda _: None) as reachable:
            reset_use_case(_lab(reachable), found)
        out.print(f"{use_case} begins anew")


@app.command()
def init() -> None:
    """Makes the lab's own tables in RawData, where they don't exist."""
    with clear_errors():
        _lab(Settings()).store.create_tables()


@app.command(name="use-cases")
def use_cases(as_json: AsJson = False) -> None:
    """The use cases in the folder, and what is wrong with files that can't be used."""
    with clear_errors():
        found, faults = read_use_cases(Settings().use_cases)
        if as_json:
            listed = [
                {"name": u.name, "title": u.title, "task": u.task, "dataset": u.dataset}
                for u in found.values()
            ]
            print(json.dumps({"use_cases": listed, "faults": faults}, indent=1))
            return
        table = Table("name", "title", "task", "candidates", box=None)
        for entry in found.values():
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

    with clear_errors():
        settings = Settings()
        run_demo(
            settings,
            get_use_case(settings.use_cases, use_case or settings.default_use_case),
            once,
            batches,
            gradio,
        )


@data.command()
def download(
    dataset: Annotated[str | None, typer.Argument(help="all of them when left out")] = None,
    folder: Annotated[Path | None, typer.Option(help="default: LAB_HOME/data")] = None,
) -> None:
    """Fetches public data sets from their publishers, so that the Data API serves the real thing."""
    from mlops_lab.data.download import DATASETS, download

    with clear_errors():
        target = folder or Settings().home / "data"
        for name in [dataset] if dataset else DATASETS:
            with err.status(f"{name} …") as shown:
                path = download(name, target, partial(_show, shown, name))
            out.print(f"{name}: {path}", soft_wrap=True)


def _show(status: Status, name: str, done: int, total: int | None) -> None:
    status.update(f"{name} {done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else ""))


def _lab(settings: Settings, say=lambda line: None):
    from mlops_lab.lab import Lab

    return Lab(settings, say)


def _champion(lab, use_case: str):
    champion = lab.registry.by_alias(lab.use_case(use_case).name, "champion")
    if champion is None:
        raise NoModelError(f"{use_case} has no champion yet; run `lab run {use_case}` or `make demo` first")
    return lab.predictor(champion)


def _read_rows(text: str) -> list[dict]:
    source = sys.stdin.read() if text == "-" else Path(text).read_text() if Path(text).is_file() else text
    try:
        rows = json.loads(source)
    except ValueError as error:
        raise LabError(f"the rows aren't JSON ({error})") from None
    rows = rows if isinstance(rows, list) else rows.get("rows", [rows]) if isinstance(rows, dict) else [rows]
    if not all(isinstance(row, dict) for row in rows):
        raise LabError("each row must be a JSON object of field and value")
    return rows


def _status(lab, use_case: str) -> dict:
    found = lab.use_case(use_case)
    lab.store.prepare_tables(found)
    champion = lab.registry.by_alias(use_case, "champion")
    entry: dict = {"use_case": use_case, "champion": None, "versions": len(lab.registry.versions(use_case))}
    if champion:
        contract = lab.predictor(champion).contract
        entry["champion"] = {
            "version": champion.version,
            "candidate": contract.lineage.candidate,
            "metric": contract.metric,
            "test": contract.metrics["test"][contract.metric],
            "baseline": contract.baseline["test"][contract.metric],
            "run_id": champion.run_id,
            "reason": champion.tags.get("lab.reason"),
        }
    entry["batches"] = [asdict(batch) for batch in lab.store.batches(use_case)]
    return entry


def _print_status(entry: dict) -> None:
    out.print(f"\n[bold]{entry['use_case']}[/bold]")
    if champion := entry["champion"]:
        out.print(
            f"champion: version {champion['version']} ({champion['candidate']}), {champion['metric']} "
            f"{champion['test']:.4g} on test rows; naive baseline {champion['baseline']:.4g}"
        )
    else:
        out.print("no champion yet")
    if entry["batches"]:
        table = Table(
            "batch", "state", "received", "quarantined", "new clean", "decision", "reason", box=None
        )
        for b in entry["batches"]:
            counts = [
                f"{b[name]:,}" if b[name] is not None else "" for name in ("received", "quarantined", "clean")
            ]
            table.add_row(
                str(b["batch_number"]),
                b["state"],
                *counts,
                b["decision"] or "",
                b["fault"] or b["reason"] or "",
            )
        out.print(table)


if __name__ == "__main__":
    app()
