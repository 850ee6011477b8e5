"""A model's outputs for rows of CleanData: what a comparison, a decision and a check of its intervals score."""

import numpy as np
import pandas as pd

from mlops_lab.model.encoding import encode_frame
from mlops_lab.model.predictor import Predictor


def predicted(predictor: Predictor, frame: pd.DataFrame) -> np.ndarray:
    """The outputs of the graph, as `Predictor.run` gives them.

    frame: typed rows. A column that isn't there, because the use case has it no more, counts as missing.
    """
    names = [feature.name for feature in predictor.contract.features]
    return predictor.run(encode_frame(predictor.contract, pd.DataFrame(frame, columns=names)))
