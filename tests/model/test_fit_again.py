"""The registered model learns from training and validation rows; what validation rows decide is decided before."""

import numpy as np
import pandas as pd
import pytest

from mlops_lab.candidates import gradient_boosting, linear_regression
from mlops_lab.data.rows import rows
from mlops_lab.data.split import LEARNT
from mlops_lab.history import Lineage
from mlops_lab.metrics import F1, score
from mlops_lab.model.calibration import calibrate
from mlops_lab.model.interval import fit_interval, groups_of
from mlops_lab.model.onnx_graph import OnnxGraph
from mlops_lab.model.train import train
from tests.support.cases import small_case


def encoded(contract, frame, *splits):
    part = pd.concat([frame[frame["split"] == split] for split in splits])
    return contract.encode(rows(part)), contract.encode_target(part[contract.target.name])


def test_a_number_is_predicted_by_what_both_splits_taught_and_its_interval_by_unseen_rows(frames):
    candidate, frame = linear_regression(), frames["regression"]
    found = train(small_case("regression"), candidate, frame)
    contract = found.contract
    both = candidate.build(contract, {}, 0).fit(*encoded(contract, frame, *LEARNT))
    first = candidate.build(contract, {}, 0).fit(*encoded(contract, frame, "train"))
    (matrix, truth), (test, _) = encoded(contract, frame, "validation"), encoded(contract, frame, "test")
    assert found.holdout[2] == pytest.approx(both.predict(test), rel=1e-3)
    assert found.holdout[2] != pytest.approx(first.predict(test), rel=1e-3)
    # The validation rows were unseen when they were scored, and when the intervals were fitted on them.
    unseen = np.maximum(first.predict(matrix), 0.0)
    assert score("regression", truth, unseen) == pytest.approx(found.metrics["validation"])
    groups = groups_of(frame[frame["split"] == "validation"])
    assert fit_interval(False, truth, unseen, groups).radii == pytest.approx(contract.interval.radii)


def test_threshold_calibration_and_scores_are_those_of_unseen_rows(frames, trained):
    frame, found = frames["binary"], trained["binary"]
    contract = found.contract
    (matrix, truth), groups = (
        encoded(contract, frame, "validation"),
        groups_of(frame[frame["split"] == "validation"]),
    )
    point = {"n_estimators": 20}
    pipeline = gradient_boosting(point).build(contract, point, 0)
    x, y = encoded(contract, frame, "train")
    unseen = pipeline.fit(x, y.astype(int)).predict_proba(matrix)
    if step := calibrate(unseen, truth, groups):
        unseen = step(unseen)
    assert found.params["calibration"] == str(step or "none")
    assert score("binary", truth, unseen, threshold=contract.threshold) == pytest.approx(
        found.metrics["validation"]
    )
    best = max(F1(truth, unseen, t) for t in unseen[:, 1])
    assert F1(truth, unseen, contract.threshold) == pytest.approx(best)
    # The model itself knows these rows, so it must not be judged by them.
    learnt = score("binary", truth, OnnxGraph(found.model.SerializeToString()).run(matrix))
    assert learnt["roc_auc"] > found.metrics["validation"]["roc_auc"] + 0.01


def test_a_class_that_only_validation_rows_have_can_be_predicted(frames):
    frame = frames["multiclass"]
    late = frame[(frame["split"] != "train") | (frame["kind"] != "hut")]
    candidate = gradient_boosting({"n_estimators": 150, "min_child_samples": 1, "learning_rate": 0.2})
    found = train(small_case("multiclass"), candidate, late)
    assert found.holdout[2][:, found.contract.classes.index("hut")].max() > 0.5


def test_a_model_of_an_earlier_release_learnt_from_training_rows_alone():
    stored = {"run_id": "r", "candidate": "c", "batches": [1], "created_at": "2026-01-01T00:00:00"}
    old = Lineage.model_validate(stored | {"rows": {"train": 60, "validation": 20, "test": 20}})
    assert old.learnt_rows == 60
    assert old.model_copy(update={"learnt": list(LEARNT)}).learnt_rows == 80
