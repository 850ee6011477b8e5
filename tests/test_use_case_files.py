"""What is wrong in a use case's file is found when it is read: one line, with the number of the file's line."""

import pytest

from mlops_lab.use_case import read_use_cases

FILE = """from mlops_lab import *

USE_CASE = UseCase(
    name="mine",
    title="Mine",
    dataset="mine",
    target={target},
    features=[{features}],
    candidates=[{candidates}],
    metric={metric},
    {more}
)
"""
RIGHT = {
    "target": 'Number("y")',
    "features": 'Number("a")',
    "candidates": "ridge()",
    "metric": "RMSE",
    "more": "",
}
KINDS = "declare Number, Integer, Boolean, Date or Category"


@pytest.fixture
def fault(tmp_path):
    def read(**wrong: str) -> str | None:
        (tmp_path / "mine.py").write_text(FILE.format(**RIGHT | wrong))
        return read_use_cases(tmp_path)[1].get("mine.py")

    return read


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (
            {"metric": '"rmse"'},
            "line 3: use case mine: metric is 'rmse'; for a regression there are RMSE, MAE, ",
        ),
        (
            {"more": "history=HistoryPolicy(rows=5),"},
            "line 11: HistoryPolicy.rows: Input should be greater than or equal to 100",
        ),
        (
            {"more": "history=HistoryPolicy(newest=5),"},
            "line 11: HistoryPolicy.newest: Extra inputs are not permitted",
        ),
        (
            {"more": "history=1000,"},
            "line 3: use case mine: history is 1000; write HistoryPolicy(rows=…, batches=…)",
        ),
        (
            {"metric": "ACCURACY"},
            "line 3: use case mine: metric is accuracy; for a regression there are RMSE, ",
        ),
        (
            {"metric": 'Metric("rmsee", True, lambda *_: 1)'},
            "line 10: there is no metric 'rmsee'; there are rmse, ",
        ),
        (
            {"candidates": "logistic_regression()"},
            "line 3: use case mine: logistic_regression learns binary and multiclass, and y makes this a regression",
        ),
        (
            {"target": 'Boolean("y")', "metric": "ROC_AUC", "candidates": "logistic_regression(), ridge()"},
            "line 3: use case mine: ridge learns regression, and y makes this a binary",
        ),
        (
            {"candidates": "over_sampled(ridge())"},
            "line 3: use case mine: over_sampled_ridge learns nothing, ",
        ),
        ({"candidates": '"ridge"'}, "line 3: use case mine: candidates has 'ridge'; write it as ridge()"),
        ({"candidates": "ridge"}, "line 3: use case mine: candidates has ridge; write it as ridge()"),
        (
            {"candidates": "ridge(), ridge()"},
            "line 3: use case mine: candidates twice: ridge; give one several ",
        ),
        (
            {"features": 'Number("a"), Number("A")'},
            "line 3: use case mine: A and a differ only in case, which a database doesn't tell apart",
        ),
        ({"features": '"a"'}, f"line 3: use case mine: features has 'a'; {KINDS}"),
        ({"target": '"y"'}, f"line 3: use case mine: target has 'y'; {KINDS}"),
        ({"features": 'Number("a", min=0)'}, "line 8: Number.min: Extra inputs are not permitted"),
        (
            {"features": 'Category("a", allowed=[0, 1])'},
            "line 8: Category.allowed.0: Input should be a valid string",
        ),
        (
            {"features": 'Number("a", minimum=5, maximum=1)'},
            "line 8: Number: Value error, a: minimum is above maximum",
        ),
        ({"more": 'group_key="a",'}, "line 3: use case mine: group_key is a text; write a list: ['a']"),
        ({"more": 'missing="NA",'}, "line 3: use case mine: missing is a text; write a list: ['NA']"),
        ({"more": 'layouts=["a", "y"],'}, "line 3: use case mine: layouts is a list of lists"),
        (
            {"more": "metrik=1,"},
            "line 3: TypeError: UseCase.__init__() got an unexpected keyword argument 'metrik'",
        ),
        (
            {"more": "clean=1 2,"},
            "SyntaxError: invalid syntax. Perhaps you forgot a comma? (mine.py, line 11)",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value.values()),
)
def test_a_fault_is_one_line_with_its_place(fault, wrong, line):
    assert fault(**wrong).startswith(line)


def test_the_same_file_without_a_fault_is_read(fault):
    assert fault() is None
