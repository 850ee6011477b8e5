"""`lab predict` for rows of a file: CSV in, CSV out, and what it says beside them."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner, Result

from mlops_lab.cli import app
from tests.support.flats import flats


@pytest.fixture
def predict(trained, monkeypatch):
    """Calls `lab predict flats` in a lab with a champion."""
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))

    def call(*arguments: str, status: int = 0) -> Result:
        done = CliRunner().invoke(app, ["predict", "flats", *arguments])
        assert done.exit_code == status, (done.output, done.exception)
        return done

    return call


def test_rows_of_a_csv_file_become_predictions_in_csv(predict, use_case, tmp_path):
    rows, names = flats(20, seed=5), [column.name for column in use_case.columns]
    lines = [";".join(map(str, row)) for row in [["no", *names], *([i, *row] for i, row in enumerate(rows))]]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    done = predict(str(tmp_path / "rows.csv"), "--csv")
    found = [float(row["prediction"]) for row in csv.DictReader(io.StringIO(done.stdout))]
    assert len(found) == 20
    assert "its separators are semicolons" in done.stderr
    assert "columns that the model doesn't have are left out: no, rent" in done.stderr
    (tmp_path / "rows.json").write_text(
        json.dumps([dict(zip(names[:-1], row, strict=False)) for row in rows])
    )
    same = json.loads(predict(str(tmp_path / "rows.json"), "--json").stdout)
    assert same["predictions"] == pytest.approx(found)
    assert same["model"] == {"name": "flats", "version": 1}


def test_a_person_reads_rounded_values_with_their_unit_and_the_version(predict):
    done = predict()
    assert done.stdout.startswith("Rent: ")
    assert done.stdout.endswith(" EUR\n")
    assert len(done.stdout.split()[1]) <= 6
    assert "1 row, by version " in done.stderr


def test_rows_that_cannot_be_predicted_are_one_line(predict, tmp_path):
    (tmp_path / "rows.csv").write_text("area,floor\n50,2\n")
    assert "district is missing" in predict(str(tmp_path / "rows.csv"), status=1).stderr
    (tmp_path / "empty.CSV").write_text("area,floor\n")
    both = predict('{"area": 1, "floor": 2}', status=1).stderr
    assert "row 0: area must be at least 5, not 1; district is missing" in " ".join(both.split())
    assert "empty.CSV has no rows" in predict(str(tmp_path / "empty.CSV"), status=1).stderr
    assert "there is no row to predict" in predict("[]", status=1).stderr
    assert "there is no file" in predict(str(tmp_path / "no.csv"), status=1).stderr
