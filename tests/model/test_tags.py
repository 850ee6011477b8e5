"""Tags as MLflow stores them: the keys that existing registries hold, and the way back."""

import subprocess
import sys

import pytest

from mlops_lab.model.tags import (
    TAG_LIMIT,
    BatchTags,
    CandidateTags,
    ExperimentTags,
    ModelTags,
    MonitoringTags,
    VersionTags,
)

RECORDS = [
    BatchTags(
        batch_id=4, batch_number=3, payload="payloads/a.json", digest="ab", decision="train", version=2
    ),
    CandidateTags(candidate="ridge", batch_id=4, batch_number=3, outcome="refused", outcome_reason="no rows"),
    ExperimentTags(candidate="ridge", rows=50),
    MonitoringTags(version=2, outcome="stable"),
    VersionTags(candidate="ridge", metric="rmse", validation=0.1 + 0.2, test=1e-9, batch_id=4, digest="ab"),
    ModelTags(use_case="housing", trial="shadow 7 against 3"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_from_mlflow_as_it_was_written(record):
    tags = record.to_mlflow()
    assert all(isinstance(value, str) for value in tags.values())
    assert type(record).from_mlflow(tags | {"mlflow.user": "me", "lab.unheard_of": "1"}) == record


def test_the_keys_are_those_that_existing_registries_hold():
    assert BatchTags(batch_id=4, reason="new groups").to_mlflow() == {
        "lab.kind": "batch",
        "lab.batch_id": "4",
        "lab.reason": "new groups",
    }
    assert VersionTags(validation=0.25, outcome="promoted").to_mlflow() == {
        "lab.validation": "0.25",
        "lab.outcome": "promoted",
    }


def test_a_version_without_test_rows_has_no_test_score():
    """Earlier releases wrote `None` and `nan` as texts."""
    assert "lab.test" not in VersionTags(validation=1.0).to_mlflow()
    old = {"lab.validation": "1.0", "lab.test": "None", "lab.baseline": "nan"}
    assert VersionTags.from_mlflow(old) == VersionTags(validation=1.0)


def test_a_long_text_is_cut_to_what_mlflow_accepts():
    assert len(BatchTags(outcome_reason="x" * 9000).to_mlflow()["lab.outcome_reason"]) == TAG_LIMIT


@pytest.mark.process
def test_the_module_imports_no_heavy_library():
    code = (
        "import sys, mlops_lab.model.tags; "
        "print({'mlflow', 'pandas', 'sklearn', 'numpy', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
