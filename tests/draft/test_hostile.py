"""Names and values of a person's file are texts in the drafted use case, whatever they hold: never code."""

import ast

import pandas as pd
import pytest

from mlops_lab.draft.choose import choose
from mlops_lab.draft.table import Table
from mlops_lab.draft.text import use_case_text

# Where a line of Python, a text or a comment could end. Not each of them ends one, but each has once somewhere.
ENDS = ["\n\x0b\x0c\x1c\x85\u2028\x00", "\r", '"', "'", '"""\'', "\\", "\\\n#{}"]
CODE = "import os; os.system('x')"


def hostile(end: str, wide: bool) -> pd.DataFrame:
    """A table in which every text tries to leave its place: names, classes, dates in another form, sentences."""
    n, out = 240, f"{end}{CODE}{end}"
    columns = {
        f"number{out}": [str(i % 50 / 4) for i in range(n)],
        f"kind{out}": [f"{i % 7}{out}" for i in range(n)],
        f"day{out}": [f"01/02/2020 {out}.{i}" for i in range(n)],
        f"same{out}": [out] * n,
        f"note{out}": [f"{out} a sentence of somebody, the {i}th one of many" for i in range(n)],
        f"patient id{out}": [f"{i % 60}{out}" for i in range(n)],
        f"target{out}": [f"{i % 12}{out}" for i in range(n)],
    }
    if wide:
        columns |= {f"c{i}{out}": [f"{j % 5}{out}" for j in range(n)] for i in range(90)}
    return pd.DataFrame(columns, dtype="str")


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("end", ENDS, ids=ascii)
def test_a_drafted_file_only_declares(end, wide):
    frame = hostile(end, wide)
    target = next(name for name in frame if name.startswith("target"))
    text = use_case_text(choose(Table(frame, []), f"file{end}{CODE}.csv", "mine", target))
    assert_declares(text)
    assert len(text.splitlines()) == text.count("\n")


@pytest.mark.parametrize("size", [1e308, 1e299, -1e299, 5e-324, -5e-324])
def test_the_greatest_and_the_least_numbers_have_bounds(size):
    numbers = [str(size * (i % 60) / 60) for i in range(120)]
    frame = pd.DataFrame({"x": numbers, "y": [str(i * 1.5) for i in range(120)]}, dtype="str")
    assert_declares(use_case_text(choose(Table(frame, []), "mine.csv", "mine", "y")))


def assert_declares(text: str) -> None:
    docstring, imports, *assignments = ast.parse(text).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert isinstance(imports, ast.ImportFrom)
    assert imports.module == "mlops_lab"
    assert all(isinstance(statement, ast.Assign) for statement in assignments)
    known = {name.name for name in imports.names}
    for node in ast.walk(ast.Module(assignments, [])):
        if isinstance(node, ast.Call):
            called = node.func
            assert called.attr == "items" if isinstance(called, ast.Attribute) else called.id in known
