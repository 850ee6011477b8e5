"""Serving beside the loop, on the booted stack: scoring by the DAG, a shadow and a canary, and their live scores."""

import csv
import gzip
import io

import httpx
import pytest

from tests.stack.stack import PATIENCE, Stack, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(4 * PATIENCE)]

BUCKET = "api-artifacts"


@pytest.fixture(scope="module", autouse=True)
def quiet(stack) -> None:
    """No training of housing, which could end a trial by another champion."""
    eventually(stack.champion, "a champion of housing", 2 * PATIENCE)
    stack.pause("housing_training")


def score(stack: Stack, source: str, target: str) -> list[dict[str, str]]:
    """The predictions that a run of the scoring DAG writes."""
    airflow = stack.airflow()
    asked = airflow.trigger("housing_scoring", source=source, target=target)

    def state() -> str | None:
        [found] = [run["state"] for run in airflow.runs("housing_scoring") if run["dag_run_id"] == asked]
        return found if found in ("success", "failed") else None

    ended = eventually(state, "the end of the scoring")
    assert ended == "success", airflow.fault("housing_scoring", asked)
    written = stack.bucket().get_object(Bucket=BUCKET, Key=target)["Body"].read()
    return list(csv.DictReader(io.StringIO(written.decode())))


def test_the_scoring_dag_scores_the_rows_of_a_query(stack):
    query = "SELECT * FROM CleanData.housing_clean ORDER BY batch_id, row_index LIMIT 300"
    rows = score(stack, query, "scoring/housing/query.csv")
    assert [row["row"] for row in rows] == [str(number) for number in range(1, 301)]
    assert {row["model_version"] for row in rows} == {str(stack.champion())}
    assert all(float(row["prediction"]) > 0 for row in rows)


def test_the_scoring_dag_scores_an_object_and_names_its_bad_rows(stack):
    contract = httpx.get(f"{stack.url('inference')}/models/housing", timeout=30).json()
    number = next(feature["name"] for feature in contract["features"] if feature["type"] == "number")
    lines = [stack.example, stack.example | {number: "much"}, stack.example]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(stack.example))
    writer.writeheader()
    writer.writerows(lines)
    stack.bucket().put_object(
        Bucket=BUCKET, Key="uploads/rows.csv.gz", Body=gzip.compress(text.getvalue().encode())
    )
    rows = score(stack, "uploads/rows.csv.gz", "scoring/housing/object.csv")
    assert [row["row"] for row in rows] == ["1", "3"]
    served = stack.predict()["predictions"][0]
    assert [float(row["prediction"]) for row in rows] == pytest.approx([served, served])
    refused = stack.bucket().get_object(Bucket=BUCKET, Key="scoring/housing/object.csv.refused.csv")
    assert refused["Body"].read().decode().splitlines()[1].startswith("2,")


def test_a_shadow_and_a_canary_predict_beside_the_champion_and_get_live_scores(stack):
    champion = stack.champion()
    found = stack.mlflow("GET", "model-versions/search", params={"filter": "name='housing'"})
    challenger = max(
        int(one["version"]) for one in found["model_versions"] if int(one["version"]) != champion
    )

    def answers() -> dict:
        """The reply to 60 rows in one request."""
        body = {"rows": [stack.example] * 60}
        reply = httpx.post(f"{stack.url('inference')}/predict/housing", json=body, timeout=60)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def tried(kind: str) -> bool:
        text = httpx.get(f"{stack.url('inference')}/metrics", timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith("model_trial_info{")]
        return any(f'kind="{kind}"' in line and f'version="{challenger}"' in line for line in lines)

    stack.lab("trial", "housing", str(challenger), "--shadow")
    eventually(lambda: tried("shadow"), "the service follows the shadow")
    shadowed = [answers() for _ in range(2)]
    assert {reply["model"]["version"] for reply in shadowed} == {champion}
    counted = f"SELECT COUNT(*) FROM RawData.shadow_predictions WHERE version = {challenger}"
    eventually(lambda: stack.sql(counted)[0][0] >= 120, "the shadow's predictions in the log")

    for reply in shadowed:
        for known, value in zip(reply["prediction_ids"], reply["predictions"], strict=True):
            sent = {"use_case": "housing", "prediction_id": known, "actual": value * 1.1}
            told = httpx.post(f"{stack.url('inference')}/feedback", json=sent, timeout=30)
            assert told.status_code == 202, told.text

    stack.lab("trial", "housing", str(challenger), "--canary", "0.5")
    eventually(lambda: tried("canary"), "the service follows the canary")
    both = {champion, challenger}
    seen: set[int] = set()

    def answered_by_both() -> bool:
        seen.add(answers()["model"]["version"])
        return seen == both

    eventually(answered_by_both, "answers of both arms", pause=0)
    assert "ended" in stack.lab("trial", "housing", "--end")

    def scored() -> bool:
        # The feedback may still be on its way into the database.
        stack.lab("monitor", "housing")
        live = httpx.get(f"{stack.url('inference')}/models/housing/live", timeout=30).json()["live"]
        arms = {one["version"]: one["score"] for one in live if one["labelled"] >= 120}
        return both <= arms.keys() and None not in arms.values()

    eventually(scored, "live scores of both versions")
