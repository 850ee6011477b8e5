"""The command `lab score`, on a lab with a trained champion."""

import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.lab import Lab
from mlops_lab.settings import Settings
from tests.support.flats import flats

COLUMNS = ["area", "floor", "district", "balcony", "built", "rent"]


@pytest.fixture
def lab(tmp_path, templates, flats_folder, monkeypatch) -> Lab:
    templates.copy_trained(tmp_path / "lab")
    for name in [name for name in os.environ if name.startswith("LAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "lab"))
    monkeypatch.setenv("LAB_USE_CASES", str(flats_folder))
    return Lab(Settings(), progress=lambda _: None)


@pytest.fixture
def score(lab, monkeypatch):
    def _score(*arguments, status: int = 0):
        done = CliRunner().invoke(app, ["score", "flats", *map(str, arguments)])
        assert done.exit_code == status, (done.output, done.exception)
        return done

    return _score


def test_the_champion_or_another_version_scores_a_file(lab, score, tmp_path, monkeypatch):
    rows = pd.DataFrame(flats(250, seed=3), columns=COLUMNS)
    rows.loc[7, "area"] = 1
    rows.to_csv(tmp_path / "rows.csv.gz", index=False)
    champion = lab.champion("flats")
    other = next(v for v in lab.registry.versions("flats") if v.version != champion.version)

    done = score(tmp_path / "rows.csv.gz")
    assert done.stderr == "rent: not read, because the model has no such field\n"
    target = tmp_path / "rows.predictions.csv"
    says = f"249 rows scored by version {champion.version} in "
    assert done.stdout.startswith(says)
    assert done.stdout.endswith(f"s: {target}, 1 refused ({target}.refused.csv)\n")
    found = pd.read_csv(target)
    good = rows.drop(index=7).drop(columns="rent")
    expected = lab.predictor(champion).predict(json.loads(good.to_json(orient="records")))
    assert found["prediction"].tolist() == pytest.approx(expected.values)
    # Nobody else on this machine may read the rows of a lab, nor what is predicted of them.
    assert target.stat().st_mode & 0o077 == 0

    out = tmp_path / "other.parquet"
    written = json.loads(
        score(tmp_path / "rows.csv.gz", "--version", other.version, "--out", out, "--json").stdout
    )
    assert written.pop("seconds") >= 0
    assert written == {
        "path": str(out),
        "refused_path": f"{out}.refused.csv",
        "version": other.version,
        "rows": 249,
        "refused": 1,
    }
    assert set(pd.read_parquet(out)["model_version"]) == {other.version}

    score(tmp_path / "rows.csv.gz", "--interval")
    found, limits = pd.read_csv(target), lab.predictor(champion).intervals(expected.values)
    assert found[["prediction_low", "prediction_high"]].to_numpy() == pytest.approx(np.array(limits))


def test_faults_are_one_line_and_after_a_full_disk_it_goes_on(lab, score, tmp_path, monkeypatch):
    monkeypatch.setattr("mlops_lab.scoring.scorer.CHUNK", 100)
    source, target = tmp_path / "rows.csv", tmp_path / "out.csv"
    pd.DataFrame(flats(250, seed=3), columns=COLUMNS).drop(columns="rent").to_csv(source, index=False)
    assert score(source, "--version", 99, status=1).stderr == (
        "error: flats has no version 99; its newest: 2, 1\n"
    )
    assert score(tmp_path / "no.csv", status=1).stderr == f"error: there is no file {tmp_path / 'no.csv'}\n"
    away = score(source, "--out", tmp_path / "away" / "out.csv", status=1).stderr
    assert away.startswith(f"error: {tmp_path / 'away' / 'out.csv.part'}: No such file or directory; ")

    with monkeypatch.context() as patch:
        real, calls = os.fsync, iter(range(99))

        def full(descriptor):
            # The second chunk.
            if next(calls) == 5:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        patch.setattr(os, "fsync", full)
        says = f"error: {target}.part/predictions: No space left on device; free disk space, then run again\n"
        assert score(source, "--out", target, status=1).stderr == says
    assert score(source, "--out", target).stderr == "goes on after row 100, where an earlier run ended\n"
    assert pd.read_csv(target)["row"].tolist() == list(range(1, 251))
