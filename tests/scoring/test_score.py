"""Scoring a file: the model's answers for each row, in every form, and each bad row named."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_lab.contract import MODEL_FILE, Interval
from mlops_lab.errors import LabError
from mlops_lab.model.predictor import Predictor
from mlops_lab.settings import REPOSITORY
from tests.scoring.files import Run, bytes_of, frame, read, write
from tests.support import models
from tests.support.processes import environment

ROWS = frame(450)


@pytest.mark.parametrize("use_case", models.TASKS)
def test_each_form_of_file_gets_the_models_answers_in_order(predictors, tmp_path, use_case):
    predictor = predictors[use_case]
    expected = predictor.predict(json.loads(ROWS.to_json(orient="records")))
    written = {}
    for name in ("rows.csv", "packed.csv.gz", "rows.parquet"):
        source = write(ROWS.assign(note="not a field"), tmp_path / name)
        for target in (tmp_path / f"{name}.out.csv", tmp_path / f"{name}.out.parquet"):
            run = Run(predictor, replace(Run.version, use_case=use_case))
            done = run(source, target)
            assert (done.rows, done.refused, done.refused_path, done.version) == (450, 0, None, 7)
            assert run.said == ["note: not read, because the model has no such field"]
            found = written[target.name] = read(target)
            assert found["row"].tolist() == list(range(1, 451))
            assert found["prediction_id"].nunique() == 450
            assert set(found["model_version"]) == {7}
            if use_case == "houses":
                assert np.allclose(found["prediction"], expected.values)
            else:
                assert found["prediction"].tolist() == expected.values
                names = [f"probability_{name}" for name in predictor.contract.classes]
                assert np.allclose(found[names], expected.probabilities)
    # The id is one of the file, so that each file has its own; the same file has the same.
    assert written["rows.csv.out.csv"].equals(written["rows.csv.out.parquet"])
    ids = [found["prediction_id"][0] for name, found in written.items() if name.endswith("out.csv")]
    assert len(set(ids)) == 3
    assert not list(tmp_path.glob("*.part"))


def test_on_request_each_prediction_has_its_limits(predictors, tmp_path):
    houses = predictors["houses"]
    interval = Interval(level=0.9, log=False, edges=[], radii=[1000.0], rows=80, groups=80)
    sure = Run(Predictor(houses.contract.model_copy(update={"interval": interval}), _graph(tmp_path)))
    # A row that is refused has no limits either.
    source = write(ROWS.assign(area=ROWS["area"].where(ROWS.index != 3, -5)), tmp_path / "rows.csv")
    for name in ("out.csv", "out.parquet"):
        assert sure(source, tmp_path / name, interval=True).rows == 449
        found = read(tmp_path / name)
        assert np.allclose(found["prediction_low"], np.maximum(found["prediction"] - 1000, 1))
        assert np.allclose(found["prediction_high"], found["prediction"] + 1000)
    sure(source, tmp_path / "out.csv")
    assert "prediction_low" not in read(tmp_path / "out.csv")
    without = Run(houses)
    without(source, tmp_path / "out.csv", interval=True)
    assert without.said == ["this model has no prediction intervals, so the result has no limits"]
    assert "prediction_low" not in read(tmp_path / "out.csv")


def _graph(folder: Path) -> bytes:
    models.build(folder / "model", "houses")
    return (folder / "model" / MODEL_FILE).read_bytes()


BAD = {
    "a bound": ({"area": -5}, ["area"], "must be at least 5, not -5"),
    "no number": ({"area": "much"}, ["area"], "must be a number, not 'much'"),
    "nan": ({"area": "NaN"}, ["area"], "must be a finite number"),
    "infinity": ({"area": "Infinity"}, ["area"], "must be a finite number"),
    "unicode": ({"kind": "häuschen\u2028🏠"}, ["kind"], "must be one of flat, house; not 'häuschen"),
    "null": ({"rooms": None}, ["rooms"], "must not be null"),
    "two fields": ({"rooms": "2.5", "sold": "soon"}, ["rooms", "sold"], "must be a whole number"),
}


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_each_bad_row_is_named_and_the_others_are_scored(run, tmp_path, name):
    rows = ROWS.astype(object).where(ROWS.notna(), None)
    places = dict(zip(BAD, range(3, 450, 60), strict=False))
    for bad, place in places.items():
        for column, value in BAD[bad][0].items():
            rows.loc[place, column] = value
    # Parquet has one type a column.
    source = write(rows.astype({"area": str, "rooms": str}).replace("None", None), tmp_path / name)
    done = run(source, tmp_path / "out.csv")
    assert (done.rows, done.refused) == (443, 7)
    refused = pd.read_csv(done.refused_path)
    assert done.refused_path == tmp_path / "out.csv.refused.csv"
    assert refused.columns.tolist() == ["row", "field", "rule", "message"]
    for bad, place in places.items():
        mine = refused[refused["row"] == place + 1]
        assert mine["field"].tolist() == BAD[bad][1]
        assert BAD[bad][2] in mine["message"].iloc[0]
    good = [number for number in range(1, 451) if number - 1 not in places.values()]
    assert read(tmp_path / "out.csv")["row"].tolist() == good
    assert run.reported[-1].rows == 450
    assert run.reported[-1].refused == 7
    # The next run's file has no bad row: the list of the one before doesn't stay beside it.
    assert run(write(ROWS, source), tmp_path / "out.csv").refused_path is None
    assert sorted(bytes_of(tmp_path)) == sorted([name, "out.csv"])


def test_a_line_of_another_length_is_one_bad_row(run, tmp_path):
    header, first, second = ROWS[:2].to_csv(index=False).splitlines()
    (tmp_path / "rows.csv").write_text("\n".join(["\ufeff" + header, first, f"{first},7", "1,2", "", second]))
    done = run(tmp_path / "rows.csv", tmp_path / "out.csv")
    assert (done.rows, done.refused) == (2, 2)
    assert pd.read_csv(done.refused_path)["message"].tolist() == [
        "has 7 values, and there are 6 columns",
        "has 2 values, and there are 6 columns",
    ]
    assert read(tmp_path / "out.csv")["row"].tolist() == [1, 4]


def test_a_row_without_a_finite_answer_is_a_bad_row(tmp_path):
    models.build(tmp_path / "model")
    models.make_fragile(tmp_path / "model")
    rows = ROWS.copy()
    rows["area"] = 50.0
    rows.loc[[5, 140], "area"] = 1500.0
    done = Run(Predictor.load(tmp_path / "model"))(write(rows, tmp_path / "rows.csv"), tmp_path / "out.csv")
    assert (done.rows, done.refused) == (448, 2)
    refused = pd.read_csv(done.refused_path)
    assert refused["row"].tolist() == [6, 141]
    assert "no finite number" in refused["message"][0]


def test_when_every_row_is_bad_the_list_of_faults_is_all_that_is_written(run, tmp_path):
    source = write(ROWS.assign(area=-1), tmp_path / "rows.csv")
    with pytest.raises(
        LabError, match=r"every row of rows\.csv is refused; the reasons are in .*out\.csv\.ref"
    ):
        run(source, tmp_path / "out.csv")
    assert sorted(bytes_of(tmp_path)) == ["out.csv.refused.csv", "rows.csv"]
    assert len(pd.read_csv(tmp_path / "out.csv.refused.csv")) == 450


@pytest.mark.process
def test_a_larger_file_takes_no_more_memory(built, tmp_path):
    command = [sys.executable, "-m", "tests.scoring.peaks", str(built / "houses"), str(tmp_path)]
    found = subprocess.run(
        command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=120, check=True
    )
    for name, (short, long) in json.loads(found.stdout).items():
        # The predictions would take 0.5 MB more, the rows 2 MB.
        assert long < short + 300_000, name
