"""A file of rows through a running service, as the page Predict sends it."""

import csv
import gzip
import io

import pandas as pd
import pytest
from pydantic import SecretStr

from mlops_lab.client import InferenceClient
from mlops_lab.scoring import over_http
from mlops_lab.scoring.over_http import Answer, count_rows, score_over_http
from mlops_lab.scoring.source import SourceError, open_source
from tests.support import contracts
from tests.support.processes import KEY, away

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("pages")]
CONTRACT = contracts.housing()


@pytest.fixture
def api(inference) -> InferenceClient:
    return InferenceClient(inference.url, timeout=60, key=SecretStr(KEY))


def table(n: int) -> pd.DataFrame:
    rows = [CONTRACT.example | {"house_size": 1000 + i, "note": f"row {i}"} for i in range(n)]
    return pd.DataFrame(rows)


def parsed(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def scored(api, path, **more) -> Answer:
    return score_over_http(api, CONTRACT, open_source(path, CONTRACT), lambda done: None, **more)


def test_good_rows_are_predicted_and_bad_ones_are_named(api, tmp_path):
    frame = table(1200).astype(object)
    frame.loc[3, "bed"] = -1
    frame.loc[3, "status"] = "=cmd()"
    frame.loc[600:799, ["bed", "bath", "house_size"]] = (
        "large"  # more faults than a reply of the service lists
    )
    path = tmp_path / "rows.csv.gz"
    content = frame.to_csv(index=False, sep=";") + "too;short\n"
    path.write_bytes(gzip.compress(content.encode()))
    done: list[int] = []
    source = open_source(path, CONTRACT)
    assert (count_rows(source, "rows", "housing"), source.left_out) == (1201, ["note"])
    answer = score_over_http(api, CONTRACT, source, done.append)
    assert done == [500, 1000, 1201]
    assert (answer.rows, answer.refused_rows, answer.stopped) == (999, 202, "")
    refused = parsed(answer.refused)
    assert [(f["row"], f["field"], f["rule"]) for f in refused[:3]] == [
        ("4", "bed", "minimum"),
        ("4", "status", "category"),
        ("601", "bed", "type"),
    ]
    assert len(refused) == 2 + 3 * 200 + 1
    assert (refused[-1]["row"], refused[-1]["rule"]) == ("1201", "length")
    assert answer.faults[0]["row"] == 4
    lines = parsed(answer.predictions)
    numbers = [int(line["row"]) for line in lines]
    assert numbers == [n for n in range(1, 1201) if n != 4 and not 601 <= n <= 800]
    [alone] = api.predict("housing", [CONTRACT.example | {"house_size": 1000 + 1099}]).predictions
    found = lines[numbers.index(1100)]
    assert float(found["prediction"]) == pytest.approx(alone)
    assert float(found["prediction_low"]) < alone < float(found["prediction_high"])
    assert answer.versions == [int(found["model_version"])]


def test_parquet_and_a_classifier_have_the_same_columns_as_lab_score(api, tmp_path):
    contract = contracts.diabetes()
    path = tmp_path / "rows.parquet"
    pd.DataFrame([contract.example] * 3).to_parquet(path)
    answer = score_over_http(api, contract, open_source(path, contract), lambda done: None)
    [line, *_] = parsed(answer.predictions)
    assert list(line) == [
        "row", "prediction_id", "prediction", "probability_false", "probability_true", "model_version",
    ]  # fmt: skip
    assert line["prediction"] in ("true", "false")


def test_a_service_that_goes_away_stops_it_with_a_line(tmp_path):
    table(3).to_csv(tmp_path / "rows.csv", index=False)
    answer = scored(InferenceClient(away()), tmp_path / "rows.csv")
    assert answer.rows == 0
    assert "doesn't answer" in answer.stopped
    assert answer.stopped.endswith("(after row 0)")


def test_a_file_that_is_too_long_names_the_command_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(over_http, "MAX_ROWS", 2)
    table(3).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(SourceError, match=r"more than 2 rows.*`lab score housing FILE`"):
        count_rows(open_source(tmp_path / "rows.csv", CONTRACT), "rows.csv", "housing")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_any_usual_separator_is_read_with_quoted_names_too(tmp_path, separator):
    frame = table(2)
    frame.to_csv(tmp_path / "rows.csv", index=False, sep=separator, quoting=csv.QUOTE_ALL)
    rows = list(open_source(tmp_path / "rows.csv", CONTRACT).rows(0))
    assert [row["house_size"] for row in rows] == ["1000", "1001"]
