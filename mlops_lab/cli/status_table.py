"""An entry of `lab status` on a terminal of any width."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlops_lab.data.tables import LiveScore, Promotion
from mlops_lab.local.terminal import Words, style_of, wrapped
from mlops_lab.status import ChampionStatus

# From so many columns on the batches are a table with their reasons.
WIDE = 110
INDENT = "  "
COUNTS = {"received": "received", "quarantined": "quarantined", "dropped": "dropped", "clean": "new clean"}
_coloured = Words()


def show(entry: dict[str, Any], out: Console) -> None:
    """Prints an entry of `status`."""
    out.print(f"\n[bold]{entry['use_case']}[/bold]")
    unknown = entry["unknown"]
    if "champion" in unknown:
        _line(out, "champion", f"unknown, {unknown['champion']}")
    elif entry["champion"]:
        champion = ChampionStatus(**entry["champion"])
        _line(out, "champion", f"version {champion.version} ({champion.candidate}), {champion.scores}")
        _line(out, "sealed", champion.sealed_line)
    else:
        out.print("no champion yet")
    if entry["waiting"]:
        asked = Promotion(**entry["waiting"])
        wrapped(out, _coloured(f"version {asked.challenger} waits: {asked.said}"))
    for name in ("trial", "estimated"):
        if entry[name]:
            _line(out, name, entry[name])
    for score in entry["live"]:
        _line(out, "live", str(LiveScore(**score)))
    if "batches" in unknown:
        _line(out, "batches", f"unknown, {unknown['batches']}")
    elif entry["batches"]:
        _batches(entry["batches"], out)


def _line(out: Console, name: str, text: str) -> None:
    wrapped(out, text, Text(f"{name}: ", "dim"))


def _batches(batches: list[dict[str, Any]], out: Console) -> None:
    counts = dict(COUNTS)
    if not any(batch["dropped"] for batch in batches):
        del counts["dropped"]
    if out.width < WIDE:
        for batch in batches:
            _block(batch, counts, out)
        return
    table = Table("batch", "state", *counts.values(), "decision", "reason", box=None)
    for batch in batches:
        table.add_row(
            str(batch["batch_number"]),
            _word(batch["state"]),
            *(_amount(name, batch[name]) for name in counts),
            _word(batch["decision"] or ""),
            _coloured(batch["fault"] or batch["reason"] or ""),
        )
    out.print(table)


def _block(batch: dict[str, Any], counts: dict[str, str], out: Console) -> None:
    """A batch in lines of its own: a column of reasons would be one of single words."""
    counted = Text(", ").join(
        Text.assemble(_amount(name, batch[name]), f" {title}") for name, title in counts.items()
    )
    wrapped(out, Text.assemble(f"batch {batch['batch_number']}  ", _word(batch["state"])))
    wrapped(out, counted, INDENT)
    decided = batch["decision"] or ""
    reason = batch["fault"] or batch["reason"] or ""
    if said := [part for part in (decided, reason) if part]:
        text = Text.assemble(_word(decided), ": " if len(said) == 2 else "", _coloured(reason))
        wrapped(out, text, INDENT)


def _word(word: str) -> Text:
    return Text(word, style_of(word))


def _amount(name: str, amount: int | None) -> Text:
    return Text("–" if amount is None else f"{amount:,}", style_of(name) if amount else "")
