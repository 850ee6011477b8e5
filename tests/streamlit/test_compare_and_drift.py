"""Two versions beside each other, and the drift over batches, as frames: what the pages Models and Data draw."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mlops_lab.evaluation import Evaluation, Slice
from mlops_lab.features import Number
from mlops_lab.model.tags import BatchTags
from mlops_lab.settings import REPOSITORY
from tests.support import contracts

NAMES = ("Version 4", "Version 1")


@pytest.fixture(autouse=True)
def pages(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")


@pytest.fixture
def ui_compare():
    import ui_compare

    return ui_compare


def rows(frame) -> dict[str, tuple]:
    return {first: tuple(rest) for first, *rest in frame.itertuples(index=False)}


def test_scores_have_units_and_intervals(ui_compare):
    one = contracts.housing()
    other = one.model_copy(update={"metrics": {"test": {"rmse_log": 0.4}}, "evaluation": None})
    assert rows(ui_compare.scores(one, other, NAMES)) == {
        "Error of the logarithm": ("0.332 (0.32 to 0.345)", "0.4", "lower"),
        "Mean error": ("56,770 USD", "–", "lower"),
        "Median error in per cent": ("17.7%", "–", "lower"),
    }


def test_parts_of_the_rows_are_named_by_the_contract(ui_compare):
    one, two = (
        contracts.housing().model_copy(
            update={
                "evaluation": Evaluation(
                    rows=9,
                    groups=9,
                    intervals={},
                    slices=[
                        Slice(by="state", value=state, metric="rmse_log", rows=1200, score=0.25),
                        Slice(by="predicted price", value="up to 9", metric="rmse_log", rows=7, score=0.1),
                    ],
                )
            }
        )
        for state in ("Texas", contracts.ODD_STATE)
    )
    found = ui_compare.slices(one, two, NAMES)
    assert found.to_numpy().tolist() == [
        ["State or territory", "Texas", "Error of the logarithm", "0.25 (1,200 rows)", "–"],
        ["State or territory", contracts.ODD_STATE, "Error of the logarithm", "–", "0.25 (1,200 rows)"],
    ]


def test_only_what_differs_is_listed_and_the_rest_is_counted(ui_compare):
    one = contracts.housing()
    assert one.lineage
    lineage = one.lineage.model_copy(update={"batches": [1, 2], "rows": {"train": 90}})
    bed, *others = one.features
    fields = [bed.model_copy(update={"maximum": 9}), *others[:-1], Number("rooms", "Rooms")]
    other = one.model_copy(update={"lineage": lineage, "features": fields})
    chosen = [{"alpha": "1", "seed": "0"}, {"alpha": "9", "seed": "0"}]
    found, same = ui_compare.differences(one, other, NAMES, chosen)
    assert rows(found) == {
        "Batches": ("1", "1, 2"),
        "Rows learnt from": ("60 (train)", "90 (train)"),
        "Field Bedrooms": ("integer, From 0 to 60, may be unknown", "integer, From 0 to 9, may be unknown"),
        "Field Sold before on": ("date, At least 1900-01-01, may be unknown", "–"),
        "Field Rooms": ("–", "number, may be unknown"),
        "Parameter alpha": ("1", "9"),
    }
    assert {"candidate", "target", "8 fields", "1 parameter"} <= set(same)


def test_a_decision_on_the_same_rows_is_found_in_both_directions(ui_compare):
    record = {"challenger": 4, "champion": 1, "metric": "rmse_log", "champion_score": 0.3342}
    record |= {"challenger_score": 0.335, "gain": -0.0024, "sureness": 0.31, "holdout_rows": 2214}
    earlier = {"challenger": 4, "champion_score": 0.5}
    assert ui_compare.on_same_rows([earlier, record], 4, 1) == (record, True)
    assert ui_compare.on_same_rows([record], 1, 4) == (record, False)
    assert ui_compare.on_same_rows([earlier, record], 4, 2) is None
    assert ui_compare.compared(record, "USD", NAMES) == (
        "On the same 2,214 test rows: Error of the logarithm 0.335 (Version 4) against 0.3342 (Version 1), "
        "0.24% more error, better in 31.0% of the resamples."
    )


def test_the_drift_over_batches_has_the_fields_that_moved_most():
    import ui_drift
    from ui_tracking import Run

    def batch(number: int, **found: float) -> Run:
        tags = BatchTags(batch_number=number).to_mlflow()
        indices = {f"psi.{name}": value for name, value in found.items()}
        return Run(
            str(number),
            "1",
            f"batch-{number}",
            datetime(2026, 1, 1, tzinfo=UTC),
            "FINISHED",
            indices,
            {},
            tags,
        )

    still = {f"still_{n}": 0.01 for n in range(9)}
    runs = [batch(4, zip_code=0.9, **still), batch(3), batch(2, zip_code=0.1, bed=0.5, **still)]
    frame = ui_drift.over_batches(
        [*runs, replace(batch(1), metrics={"psi_max": 3.0})], {"zip_code": "Zip code"}
    )
    assert list(frame["feature"].unique())[:2] == ["Zip code", "bed"]
    assert frame["feature"].nunique() == ui_drift.LINES
    zips = frame[frame["feature"] == "Zip code"]
    assert zips[["batch", "order", "index"]].to_numpy().tolist() == [["2", 0, 0.1], ["4", 1, 0.9]]
