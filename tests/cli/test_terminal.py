"""What a terminal of any width shows, and what a pipe gets instead."""

import io

import pytest
from rich.console import Console

from mlops_lab.cli.status_table import show
from mlops_lab.local.terminal import Words, Working

REASON = "95% of the batch's groups are new to the champion; the champion is worse on new rows: rmse is 0.48"
FAULT = (
    "the payload isn't JSON: [/bold] Expecting value: line 1 column 1 (char 0), and it is kept as it arrived"
)


def batches() -> list[dict]:
    counts = {"received": 14458, "quarantined": 72, "dropped": 0, "clean": 10925}
    done = {
        "batch_number": 1,
        "state": "done",
        "decision": "train",
        "reason": REASON,
        "fault": None,
        **counts,
    }
    nothing = dict.fromkeys(counts)
    broken = {
        "batch_number": None,
        "state": "broken",
        "decision": None,
        "reason": None,
        "fault": FAULT,
        **nothing,
    }
    return [done, broken]


def shown(width: int, **options) -> str:
    entry = {
        "use_case": "flats",
        "batches": batches(),
        "versions": 0,
        "champion": None,
        "live": [],
        "unknown": {},
    }
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, **options)
    show(entry | dict.fromkeys(("trial", "waiting", "estimated")), console)
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 130])
def test_the_status_fits_the_terminal_and_no_reason_is_cut(width):
    printed = shown(width, force_terminal=True, no_color=True, color_system=None)
    assert max(map(len, printed.splitlines())) <= width
    words = printed.split()
    for text in (REASON, FAULT):
        assert [word for word in text.split() if word not in words] == []
    if width < 110:
        # Each word of a reason doesn't have a line of its own.
        assert len(printed.splitlines()) <= 9 + 2 * (len(REASON) + len(FAULT)) // width


def test_a_pipe_gets_lines_without_colour_that_are_not_wrapped():
    printed = shown(40)
    assert "\x1b" not in printed
    assert f"  train: {REASON}\n" in printed
    assert f"  {FAULT}\n" in printed
    assert "  14,458 received, 72 quarantined, 10,925 new clean\n" in printed


def test_decisions_are_told_apart_by_colour():
    words = Words()
    lines = {
        "ridge (version 3) promoted: better by 2%": "promoted",
        "version 3 of flats isn't promoted: too slow": "isn't promoted",
        "ridge: refused, its graph differs": "refused",
        "decision: skip, nothing drifted": "skip",
        "400 rows received, 2 quarantined": "quarantined",
        "batch 4 is held back": "held",
        "broken: the payload isn't JSON": "broken",
        "version 3 waits: within the noise": "waits",
    }
    found = {line: words(line).spans for line in lines}
    assert {line: line[one.start : one.end] for line, [one] in found.items()} == lines
    assert len({str(one.style) for [one] in found.values()}) >= 5
    assert words("0 quarantined; trained again because 3 new groups skip nothing").spans == []


def test_a_terminal_says_what_is_going_on_and_a_pipe_does_not():
    for terminal in (True, False):
        file = io.StringIO()
        with Working(Console(file=file, force_terminal=terminal, width=80), "starting") as working:
            working.step("batch 1: training 2 of 3, ridge", 5, 9)
        assert ("training 2 of 3, ridge" in file.getvalue() and "5/9" in file.getvalue()) is terminal
        assert terminal or file.getvalue() == ""


def test_from_the_second_batch_on_a_terminal_says_how_long_the_rest_takes(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("mlops_lab.local.terminal.time.monotonic", lambda: clock[0])

    def shown(working: Working, file: io.StringIO) -> str:
        file.truncate(0)
        working.refresh()
        return file.getvalue()

    file = io.StringIO()
    with Working(Console(file=file, force_terminal=True, width=80), "starting") as working:
        for step, seconds in enumerate((1, 20, 40)):
            working.step("first batch", step, 4)
            assert "left" not in shown(working, file)
            clock[0] += seconds
        working.step("second batch: asking", 0, 4)
        # This step and the two after it; the last one hasn't ended in any batch.
        assert "~61 s left" in shown(working, file)
        clock[0] += 2
        assert "~60 s left" in shown(working, file)
        working.step("second batch: training 1 of 1, ridge", 1, 4)
        clock[0] += 5
        last = shown(working, file)
        assert "~55 s left" in last
        assert "training 1 of 1, ridge" in last
