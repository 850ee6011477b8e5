"""What a contract keeps of the test rows beside the scores: how sure they are, slices, and where errors are great.

Pure pydantic. `mlops_lab.model.evaluate` makes it, the model card shows it, and monitoring estimates with it.
"""

from pydantic import BaseModel, Field


class Slice(BaseModel):
    """The score of some of the test rows.

    by, value: a feature and its value; the target's name and a class; or `predicted` with the target's name and a band
               of the prediction or a class.
    metric:    the use case's; for a class recall (of its rows) or precision (of the predictions).
    score:     None where the metric isn't defined on these rows, and below ten rows.
    low, high: the 95 % bootstrap interval of the score; None for a slice with few rows.
    """

    by: str
    value: str
    metric: str
    rows: int
    score: float | None = None
    low: float | None = None
    high: float | None = None


class Cell(BaseModel):
    """The errors of the test rows in one part of the input, for the estimate of the error without ground truth.

    within: feature, or the target's name for the prediction → (above, up to), of the encoded value; None: no bound.
            A missing number is below every bound.
    errors: quantiles of truth minus prediction at equal distances, the least and the greatest included; of
            log(1 + value) with `Evaluation.log`.
    """

    within: dict[str, tuple[float | None, float | None]]
    rows: int
    errors: list[float]


class Evaluation(BaseModel):
    """The test rows in detail.

    intervals: metric → 95 % bootstrap interval, by groups, of its score.
    calibration_error: classifiers; the mean distance of probability and share over tenths of the rows.
    calibration: classifiers; the last step of the graph in words, or none.
    log, cells: regression; where the errors are how great.
    simulated: the use case's metric on the test rows if their ground truth were drawn from the model's own
               probabilities or errors; None where it isn't defined.
    """

    rows: int
    groups: int
    intervals: dict[str, tuple[float, float]]
    slices: list[Slice]
    calibration_error: float | None = None
    calibration: str | None = None
    log: bool = False
    cells: list[Cell] = Field(default_factory=list)
    simulated: float | None = None
