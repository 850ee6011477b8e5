"""The commands that keep the lab: reset, migration, signatures, retention, backup, the public data sets."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.status import Status
from rich.table import Table

from mlops_lab.cli.app import (
    AsJson,
    UseCaseName,
    app,
    lines_beside,
    need_lab,
    open_lab,
    print_json,
    print_line,
    read_settings,
    use_case_of,
    use_cases_of,
)
from mlops_lab.errors import LabError
from mlops_lab.local.command import Group, err, out

if TYPE_CHECKING:
    from mlops_lab.local.backup import Manifest

data = typer.Typer(cls=Group, no_args_is_help=True, help="The public data sets.")
app.add_typer(data, name="data")
keys = typer.Typer(cls=Group, no_args_is_help=True, help="API keys of the prediction service.")
app.add_typer(keys, name="keys")


@app.command()
def reset(
    use_case: UseCaseName,
    yes: Annotated[bool, typer.Option("--yes", help="don't ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Removes all rows, models and runs of a use case and restarts its data. Logged predictions stay.

    Example: lab reset housing --yes
    """
    from mlops_lab.local.embedded import data_api
    from mlops_lab.steps.ingest import reset as reset_use_case

    settings = need_lab(read_settings())
    definition = use_case_of(settings, use_case)
    if not yes and not typer.confirm(f"Remove every row, model and run of {use_case}?"):
        raise typer.Exit(1)
    with data_api(settings, lambda _: None) as reachable:
        reset_use_case(open_lab(reachable), definition)
    if as_json:
        print_json({"reset": use_case})
    else:
        out.print(f"{use_case} was reset; its data starts again with the first batch")


@app.command()
def migrate(as_json: AsJson = False) -> None:
    """Brings the tables to this release: the lab's own, and those of each use case with data. No value is deleted.

    Example: lab migrate
    """
    from mlops_lab.data.database import StoreError

    lab = open_lab(read_settings())
    earlier = lab.store.create_tables()
    done = [f"RawData: migrated from revision {earlier}" if earlier else "RawData: nothing to change"]
    definitions, faults = use_cases_of(lab.settings)
    for use_case in definitions.values():
        if lab.ledger.batches(use_case.name):
            try:
                changes = lab.store.prepare_tables(use_case)
            except StoreError as error:
                faults[use_case.name] = str(error)
                continue
            done += [*changes, *lab.store.undeclared(use_case)]
    if as_json:
        print_json({"from_revision": earlier, "done": done, "faults": faults})
        return
    for line in done:
        print_line(line)
    # They keep only their own use case from running, so the command succeeds.
    for name, fault in faults.items():
        err.print(f"[red]{name} can't be used:[/red] {fault}", soft_wrap=True)


@app.command()
def sign(as_json: AsJson = False) -> None:
    """Signs the versions that the lab's database has a record of: after an upgrade, or with a new key.

    Example: lab sign
    """
    from mlops_lab.steps.sign import sign

    counts = sign(open_lab(read_settings(), lines_beside(as_json)))
    if as_json:
        print_json(counts)


@app.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would go and why")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes what is past its time: predictions, feedback, payloads, runs and versions that nothing needs.

    Example: lab clean --dry-run
    """
    from mlops_lab.retention import clean

    found = clean(open_lab(read_settings()), dry_run)
    if as_json:
        print_json([asdict(kind) for kind in found])
        return
    if not found:
        out.print("nothing is past its time")
        return
    done = "would be deleted" if dry_run else "deleted"
    table = Table("use case", done, "number", "MB", "older than", "setting", box=None)
    for kind in found:
        size = "" if kind.size is None else f"{kind.size / 1e6:,.1f}"
        days = f"{kind.days} days"
        table.add_row(kind.use_case, kind.what, f"{kind.found.count:,}", size, days, kind.setting)
    out.print(table)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="a new folder, outside of LAB_HOME")], as_json: AsJson = False
) -> None:
    """Copies the whole lab of LAB_HOME into a folder, also while it runs.

    Example: lab backup /mnt/lab-backup
    """
    from mlops_lab.local.backup import backup

    made = backup(read_settings(), folder, lines_beside(as_json))
    if as_json:
        print_json(_copied(made, folder))


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="a folder that `lab backup` made")], as_json: AsJson = False
) -> None:
    """Makes LAB_HOME, which must be new or empty, of a backup. A damaged backup is refused, and nothing is written.

    Example: LAB_HOME=new lab restore /mnt/lab-backup
    """
    from mlops_lab.local.backup import restore

    made = restore(read_settings(), folder, lines_beside(as_json))
    if as_json:
        print_json(_copied(made, folder))


@app.command()
def notify(as_json: AsJson = False) -> None:
    """Sends a test message by LAB_NOTIFY_URL, and says what accepted it.

    Example: LAB_NOTIFY_URL=https://example.org/hook lab notify
    """
    from mlops_lab.notify import FORMS, send

    url = read_settings().notify_url
    if url is None:
        raise LabError(f"LAB_NOTIFY_URL isn't set, so nobody is notified; its forms are {FORMS}")
    place = send(url.get_secret_value(), "Test of the lab", "`lab notify` sent this message.")
    if as_json:
        print_json({"accepted_by": place})
    else:
        out.print(f"{place} accepted the test message", soft_wrap=True)


@data.command()
def download(
    dataset: Annotated[str | None, typer.Argument(help="default: all data sets")] = None,
    folder: Annotated[Path | None, typer.Option(help="default: LAB_HOME/data")] = None,
    as_json: AsJson = False,
) -> None:
    """Downloads the public data sets from their publishers; the Data API then serves them instead of synthetic data.

    Example: lab data download covertype
    """
    from mlops_lab.data.download import DATASETS, download

    target = folder or read_settings().home / "data"
    files = {}
    for name in [dataset] if dataset else DATASETS:
        with err.status(f"{name} …") as shown:
            files[name] = download(name, target, partial(_show, shown, name))
        if not as_json:
            out.print(f"{name}: {files[name]}", soft_wrap=True)
    if as_json:
        print_json(files)


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="whose key it is")],
    may: Annotated[
        str,
        typer.Option(help="rights, with commas between them: predict, read (the prediction log)"),
    ] = "predict",
    file: Annotated[
        Path | None, typer.Option(help="adds the line to this file, for LAB_API_KEYS_FILE")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Makes an API key and shows it once; the service gets a line with its hash. It reads its keys when it starts.

    Example: lab keys new ann --may predict,read
    """
    from mlops_lab.api_keys import add_line, line_of, make_key

    key = make_key()
    line = line_of(name, may.split(","), key)
    if file:
        add_line(file, line)
    if as_json:
        print_json({"key": key, "line": line, "file": file})
        return
    print(key)
    err.print(f"the line is in {file}" if file else f"the line for LAB_API_KEYS: {line}", soft_wrap=True)


def _copied(made: "Manifest", folder: Path) -> dict[str, Any]:
    size = sum(size for size, _ in made.files.values())
    return {"folder": folder, "made_at": made.made_at, "files": len(made.files), "bytes": size}


def _show(status: Status, name: str, done: int, total: int | None) -> None:
    status.update(f"{name} {done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else ""))
