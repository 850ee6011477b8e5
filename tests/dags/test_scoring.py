"""The scoring DAG on real Airflow (its own database, no scheduler)."""

import pandas as pd
import pytest

from tests.support.flats import flats

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("dags")]

RUN = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
os.environ["LAB_HOME"] = sys.argv[2]
import scoring

def ran(**conf):
    run = scoring.flats_scoring.test(run_conf=conf)
    [ti] = run.get_task_instances()
    return [str(run.state), ti.xcom_pull(task_ids="score")]

print("RESULT" + json.dumps([
    ran(source="uploads/rows.csv"),
    ran(source="SELECT * FROM CleanData.flats_clean", target="scoring/mine.parquet", version=1),
    ran(source="uploads/nothing.csv"),
]))
"""


def test_a_file_and_a_query_are_scored_and_a_wrong_source_fails_at_once(in_airflow, templates, tmp_path):
    home = tmp_path / "trained"
    templates.copy_trained(home)
    bucket = home / "api-artifacts"
    (bucket / "uploads").mkdir(parents=True)
    columns = ["area", "floor", "district", "balcony", "built", "rent"]
    rows = pd.DataFrame(flats(50), columns=columns)
    rows.loc[0, "floor"] = -9
    rows.to_csv(bucket / "uploads" / "rows.csv", index=False)

    (state, found), (query_state, of_query), (wrong_state, nothing) = in_airflow(RUN, str(home))
    assert (state, query_state, wrong_state) == ("success", "success", "failed")
    assert (found["rows"], found["refused"]) == (49, 1)
    assert found["path"].startswith("scoring/flats/manual")
    scored = pd.read_csv(bucket / found["path"])
    assert scored["row"].tolist() == list(range(2, 51))
    assert pd.read_csv(bucket / found["refused_path"])["row"].tolist() == [1]
    assert (of_query["path"], of_query["version"]) == ("scoring/mine.parquet", 1)
    assert len(pd.read_parquet(bucket / "scoring" / "mine.parquet")) == of_query["rows"] > 400
    assert nothing is None
