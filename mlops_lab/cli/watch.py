"""`lab watch`: the page Loop in a terminal."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mlops_lab.cli.app import AsJson, app, print_json, read_settings, reading_lab, use_cases_of
from mlops_lab.errors import LabError, foreign_errors_as_lines
from mlops_lab.local.command import out

COLOURS = {"done": "green", "running": "cyan", "failed": "red", "left out": "dim", "to come": "dim"}
# Challenges that are shown, and seconds between two looks.
SHOWN, EVERY = 8, 2.0


@app.command()
def watch(
    use_case: Annotated[str | None, typer.Argument(help="default: the one with the newest batch")] = None,
    once: Annotated[bool, typer.Option("--once", help="print once and end")] = False,
    as_json: AsJson = False,
) -> None:
    """What the loop does now: the newest batch's steps, the champion, the challenges. Ctrl-C ends it.

    Example: lab watch housing --once
    """
    if as_json or once or not out.is_terminal:
        found = look(use_case)
        print_json(found) if as_json else out.print(picture(found))
        return
    with Live(console=out, auto_refresh=False, screen=False) as live:
        while True:
            live.update(picture(look(use_case)), refresh=True)
            time.sleep(EVERY)


def look(name: str | None) -> dict[str, Any]:
    """What MLflow's records tell about one use case, as JSON types.

    batch: the newest, None before the first. champions, challenges: the oldest first.
    """
    from mlops_lab.progress import NEWEST, challenges, champions, newest_batch

    with reading_lab() as lab, foreign_errors_as_lines():
        moment = datetime.now(UTC)
        names = [lab.use_case(name).name] if name else list(use_cases_of(read_settings())[0])
        batches = {one: newest_batch(lab.tracking.newest_runs(one, NEWEST), moment) for one in names}
        known = {one: batch.started for one, batch in batches.items() if batch}
        chosen = max(known, key=lambda one: known[one]) if known else names[0] if len(names) == 1 else None
        if chosen is None:
            raise LabError("no use case has a batch yet; `lab run NAME` starts the loop of one")
        batch = batches[chosen]
        versions = lab.registry.versions(chosen)
    return {
        "use_case": chosen,
        "schedule": lab.use_case(chosen).schedule,
        "now": batch.now(moment) if batch else f"no batch yet; `lab run {chosen}` starts the loop",
        "batch": asdict(batch) if batch else None,
        "champions": [asdict(term) for term in champions(versions)],
        "challenges": [
            asdict(one) | {"better": one.better, "verdict": one.verdict, "words": one.words}
            for one in challenges(versions)
        ],
    }


def picture(found: dict[str, Any]) -> RenderableType:
    """An answer of `look` for a terminal."""
    from mlops_lab.progress import MARKS, duration

    parts: list[RenderableType] = [
        Text.assemble((found["use_case"], "bold"), "  ", found["now"]),
    ]
    if batch := found["batch"]:
        steps = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for step in batch["steps"]:
            style = COLOURS[step["state"]]
            mark = Text(f"{MARKS[step['state']]} {step['name']}", style)
            steps.add_row(mark, duration(step["seconds"]), Text(step["about"]))
        parts.append(steps)
        if batch["decision"]:
            parts.append(Text.assemble((f"{batch['decision']}: ", "bold"), batch["reason"]))
        if batch["outcome"] and batch["outcome_reason"] != batch["reason"]:
            parts.append(Text.assemble((f"{batch['outcome']}: ", "bold"), batch["outcome_reason"]))
    if found["champions"]:
        now = found["champions"][-1]
        earlier = ", ".join(str(term["version"]) for term in found["champions"][:-1][-SHOWN:])
        before = f"; before it: {earlier}" if earlier else ""
        since = f"{now['since']:%Y-%m-%d %H:%M} UTC"
        parts.append(Text(f"champion: version {now['version']} ({now['candidate']}) since {since}{before}"))
    if newest := found["challenges"][-SHOWN:]:
        table = Table("challenger", "champion", "outcome", "result", box=None, padding=(0, 2, 0, 0))
        for one in newest:
            against = "" if one["against"] is None else str(one["against"])
            table.add_row(str(one["version"]), against, escape(one["outcome"]), escape(one["words"]))
        parts.append(table)
    if batch and batch["state"] != "running":
        parts.append(
            Text(
                f"next: at once after a batch with new rows, else by the schedule {found['schedule']} while the DAG "
                f"{found['use_case']}_training isn't paused; `lab run {found['use_case']}` runs it without Airflow",
                "dim",
            )
        )
    return Group(*parts)
