"""What the lab prints on a terminal: the words of its decisions in colour, and a line for what is going on.

A pipe, a file and `NO_COLOR` get the same words without colour; only a terminal has the line.
"""

import re
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.highlighter import Highlighter
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from mlops_lab.formatting import WORD_COLOURS
from mlops_lab.progress import duration

# The words as the loop's lines have them: a decision where it is said, not in a reason that repeats the word.
_WORDS = {
    "promoted": r"(?<!isn't )\bpromoted\b",
    "refused": r"\brefused\b|\bisn't promoted\b",
    "waiting": r"\bwaiting\b|\bwaits\b",
    "train": r"(?<=decision: )train\b",
    "skip": r"(?<=decision: )skip\b",
    "quarantined": r"(?<!\b0 )\bquarantined\b",
    "held": r"\bheld\b",
    "broken": r"\bbroken\b",
    "rolled back": r"\brolled back\b",
}
_PATTERNS = {word: re.compile(pattern) for word, pattern in _WORDS.items()}


class Words(Highlighter):
    """Colours the words of decisions in a line."""

    def highlight(self, text: Text) -> None:
        for word, pattern in _PATTERNS.items():
            for found in pattern.finditer(text.plain):
                text.stylize(style_of(word), *found.span())


def style_of(word: str) -> str:
    """The style of an outcome, a decision or a state; plain for those that need no attention."""
    return f"bold {WORD_COLOURS[word]}" if word in WORD_COLOURS else ""


def wrapped(console: Console, text: str | Text, lead: str | Text = "") -> None:
    """Prints the text: on a terminal broken at words, elsewhere as one line, so that programs can read it.

    lead: stands before the first line, and leaves its place free before the others.
    """
    if console.is_terminal and not lead:
        console.print(text)
    elif console.is_terminal:
        grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"))
        grid.add_row(lead, text)
        console.print(grid)
    else:
        console.print(Text.assemble(lead, text), soft_wrap=True)


class TimeLeft(ProgressColumn):
    """How long this step and the later ones take, if they take as long as in the batch before; empty in the first."""

    def __init__(self) -> None:
        super().__init__()
        # The newest seconds of each step, by its number.
        self._took: dict[int, float] = {}
        self._step, self._since = -1, 0.0

    def begins(self, step: int) -> None:
        """The step that begins now, which ends the one before."""
        now = time.monotonic()
        if self._step >= 0:
            self._took[self._step] = now - self._since
        self._step, self._since = step, now

    def render(self, task: Task) -> Text:
        """The time left as text."""
        if self._step not in self._took:
            return Text("")
        # A step that takes longer than before has nothing left.
        rest = max(0.0, self._took[self._step] - (time.monotonic() - self._since))
        rest += sum(seconds for step, seconds in self._took.items() if step > self._step)
        return Text(f"~{duration(rest)} left", "dim")


class Working(AbstractContextManager["Working"]):
    """The last line of a terminal, beneath what is printed: what is going on, how far it is, and the time.

    It moves all the time, so that a person sees that the command is at work. Elsewhere it prints nothing.
    """

    def __init__(self, console: Console, what: str):
        """what: until the first step is known."""
        text = TextColumn(
            "{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        )
        self._left = TimeLeft()
        self._bar = Progress(
            SpinnerColumn(),
            text,
            BarColumn(bar_width=max(4, min(20, console.width // 8))),
            TextColumn("{task.fields[place]}"),
            TimeElapsedColumn(),
            self._left,
            console=console,
            transient=True,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=None, place="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, what: str, done: int, of: int) -> None:
        """The step that begins now, the number of those before it, and of all."""
        self._left.begins(done)
        self._bar.update(self._task, description=what, completed=done, total=of, place=f"{done}/{of}")

    def refresh(self) -> None:
        """Draws it now; else it is drawn ten times a second."""
        self._bar.refresh()
