"""A memory for scikit-learn's pipelines: a preprocessing step that points of a grid share is fitted once."""

from collections.abc import Callable, Sequence
from typing import Any

import joblib


class Memory:
    """Keeps fitted steps and their outputs, for as long as the grid's search.

    It has the interface that `Pipeline(memory=…)` asks for. joblib's own class would write each output to disk and
    hash all rows at each call; here the rows are known to be the same array.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[Any, Any]] = {}

    def cache(self, fit: Callable[..., Any], ignore: Sequence[str] = ()) -> Callable[..., Any]:
        """`fit(transformer, x, y, …)`, which is called once for equal transformers, the same x and equal y."""

        def once(transformer: Any, x: Any, y: Any, **others: Any) -> Any:
            key = (str(joblib.hash((transformer, y))), id(x))
            if key not in self._known:
                # With x, so that no other array gets its id.
                self._known[key] = (fit(transformer, x, y, **others), x)
            return self._known[key][0]

        return once
