"""Scoring as a job: rows of an object or a query in, an object out; a further try goes on with the same rows."""

import gzip
import io
import os
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import func, select

from mlops_lab.data.artifacts import ArtifactError, Artifacts
from mlops_lab.data.tables import Batch
from mlops_lab.errors import LabError
from mlops_lab.model.predictor import Predictor
from mlops_lab.scoring import job
from mlops_lab.scoring.job import run_job
from mlops_lab.scoring.part import Part
from mlops_lab.scoring.query import write_rows
from tests.support.flats import flats

COLUMNS = ["area", "floor", "district", "balcony", "built", "rent"]
ROWS = pd.DataFrame(flats(250, seed=3), columns=COLUMNS).assign(
    area=lambda rows: rows["area"].where(rows.index != 7, 1)
)


@pytest.fixture
def lab(trained):
    """With its lines of progress, and the rows in the bucket, plain and packed."""
    trained.said = []
    trained.progress = trained.said.append
    content = ROWS.to_csv(index=False).encode()
    trained.artifacts.put("uploads/rows.csv", content)
    trained.artifacts.put("uploads/rows.csv.gz", gzip.compress(content))
    return trained


def result(lab, path: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(lab.artifacts.get(path)))


def left_over(lab) -> list:
    return list((lab.incoming_folder / "flats" / "scoring").iterdir())


def test_an_object_becomes_an_object_of_predictions(lab, use_case):
    found = run_job(lab, use_case, "manual__2026-01-01T00:00:00+00:00", "uploads/rows.csv", None, None)
    path = "scoring/flats/manual__2026-01-01T00-00-00-00-00.csv"
    champion = lab.champion("flats")
    assert found.pop("seconds") >= 0
    assert found == {
        "path": path,
        "refused_path": f"{path}.refused.csv",
        "version": champion.version,
        "rows": 249,
        "refused": 1,
    }
    expected = lab.predictor(champion).predict(ROWS.drop(index=7).drop(columns="rent").to_dict("records"))
    assert result(lab, path)["prediction"].tolist() == pytest.approx(expected.values)
    assert result(lab, f"{path}.refused.csv")["message"].tolist() == ["must be at least 5, not 1"]
    assert lab.said[-1] == f"249 rows scored by version {champion.version}, 1 refused: {path}"
    assert left_over(lab) == []


def test_a_packed_object_stays_packed_on_its_way(lab, use_case):
    packed = Path(lab.settings.artifacts, "uploads", "rows.csv.gz").read_bytes()
    assert packed == lab.artifacts.get("uploads/rows.csv.gz")
    assert gzip.decompress(packed) == lab.artifacts.get("uploads/rows.csv")
    found = run_job(lab, use_case, "1", "uploads/rows.csv.gz", None, None)
    assert (found["rows"], found["refused"]) == (249, 1)


def test_another_version_and_name_can_be_chosen(lab, use_case):
    other = next(v.version for v in lab.registry.versions("flats") if "champion" not in v.aliases)
    found = run_job(lab, use_case, "1", "uploads/rows.csv", "scoring/mine/out.parquet", other)
    assert (found["path"], found["version"]) == ("scoring/mine/out.parquet", other)
    scored = pd.read_parquet(io.BytesIO(lab.artifacts.get(found["path"])))
    assert set(scored["model_version"]) == {other}


def test_a_query_is_read_by_an_account_that_may_only_read(lab, use_case):
    clean = lab.snapshots.read(use_case)
    query = "SELECT * FROM CleanData.flats_clean WHERE split <> 'sealed' ORDER BY batch_id, row_index"
    found = run_job(lab, use_case, "1", query, None, None)
    assert (found["rows"], found["refused"]) == (len(clean), 0)
    names = [feature.name for feature in use_case.features]
    champion = lab.predictor(lab.champion("flats"))
    expected = champion.predict_encoded(champion.contract.encode(clean[names].to_dict("records")))
    assert result(lab, found["path"])["prediction"].tolist() == pytest.approx(expected.values)
    assert f"{len(clean)} rows of the query" in lab.said
    # A query may join both databases.
    batches = "with b as (select id from RawData.batches)"
    joined = (
        f"{batches} select c.* from CleanData.flats_clean c join b on b.id = batch_id where split <> 'sealed'"
    )
    assert run_job(lab, use_case, "2", joined, None, None)["rows"] == len(clean)


@pytest.mark.parametrize(
    "query",
    [
        "WITH a AS (SELECT 1) DELETE FROM RawData.batches",
        "select 1; DELETE FROM RawData.batches",
        "select load_extension('x')",
        "SELECT * FROM RawData.nothing",
        "SELECT",
    ],
)
def test_a_query_can_only_read(lab, use_case, query):
    with pytest.raises(LabError, match="the query can't be run: "):
        run_job(lab, use_case, "1", query, None, None)
    with lab.store.raw.connect() as db:
        assert db.scalar(select(func.count()).select_from(Batch)) == 1


def test_a_query_on_a_lab_without_data_is_one_line(lab, use_case, tmp_path):
    settings = lab.settings.model_copy(update={"home": tmp_path / "new"})
    with pytest.raises(LabError, match="the query can't be run: unable to open database"):
        write_rows(settings, "SELECT 1", tmp_path / "rows.csv")
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("DELETE FROM RawData.batches", None, "neither a SELECT nor an object"),
        ("uploads/rows.json", None, "neither a SELECT nor an object"),
        ("uploads/none.csv", None, "there is no object uploads/none.csv in the bucket"),
        ("../lab.csv", None, "is no path of the bucket"),
        ("/etc/rows.csv", None, "is no path of the bucket"),
        ("uploads/rows.csv", "scoring/../payloads/flats/a.csv", "is no path of the bucket"),
        ("uploads/rows.csv", "payloads/flats/a.csv", "it must begin with scoring/"),
        ("uploads/rows.csv", "scoring/a.json", "end in .csv or .parquet"),
    ],
)
def test_paths_of_other_places_are_refused(lab, use_case, source, target, says):
    with pytest.raises(LabError, match=says):
        run_job(lab, use_case, "1", source, target, None)
    assert lab.artifacts.list("scoring") == []


@pytest.mark.fault
def test_a_further_try_goes_on_with_the_same_rows(lab, use_case, monkeypatch):
    monkeypatch.setattr("mlops_lab.scoring.scorer.CHUNK", 100)
    undisturbed = run_job(lab, use_case, "0", "uploads/rows.csv", None, None)
    lab.said.clear()
    with monkeypatch.context() as patch:
        real, calls = Part.add, iter(range(9))
        patch.setattr(Part, "add", lambda *arguments: real(*arguments) if next(calls) < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_job(lab, use_case, "1", "uploads/rows.csv", None, None)
    lab.artifacts.put("uploads/rows.csv", b"others")

    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "upload", lambda *_: (_ for _ in ()).throw(ArtifactError("away")))
        with pytest.raises(ArtifactError):
            run_job(lab, use_case, "1", "uploads/rows.csv", None, None)
    assert lab.said == ["rent: not read, because the model has no such field"] * 2 + [
        "goes on after row 200, where an earlier run ended"
    ]
    # What is scored isn't scored again.
    monkeypatch.setattr(Predictor, "predict_encoded", None)
    found = run_job(lab, use_case, "1", "uploads/rows.csv", None, None)
    assert lab.artifacts.get(found["path"]) == lab.artifacts.get(undisturbed["path"])
    assert left_over(lab) == []


def test_what_a_job_left_that_nobody_tries_again_is_removed(lab, use_case, monkeypatch):
    for name in ("1", "2"):
        with pytest.raises(LabError):
            run_job(lab, use_case, name, "SELECT 1 AS area FROM RawData.batches", None, None)
    old, recent = sorted(left_over(lab))
    for path in (old, *old.rglob("*")):
        os.utime(path, (0, 0))
    run_job(lab, use_case, "3", "uploads/rows.csv", None, None)
    assert left_over(lab) == [recent]
    assert job.ABANDONED > 20 * 15 + 12 * 3600
