"""What a tuner may try, and how long: declared in plain Python, checked when the use case is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_lab.errors import UseCaseError

# Points of one search at most, so that one request reads those of a search that was interrupted.
MOST = 1000

Space = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Tuning:
    """The bounds of one candidate's search.

    space:   parameter → `(low, high)`, `(low, high, "log")`, or a list of choices. Two whole numbers are a range of
             whole numbers; "log" draws evenly on the logarithmic scale. Choices are numbers, texts, booleans or None.
    trials:  points at most, those of the candidate's grid among them; None: `MOST`.
    seconds: no further point is begun after so many seconds of fitting; None: no such bound.

    Raises `UseCaseError` for a range or a bound that can't be used.
    """

    space: Space
    trials: int | None = 30
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.space:
            raise UseCaseError(
                "a tuned candidate needs a space: parameter → (low, high) or a list of choices"
            )
        for name, values in self.space.items():
            if problem := _problem(values):
                raise UseCaseError(f"the space of {name} is {values!r}; {problem}")
        if self.trials is None and self.seconds is None:
            raise UseCaseError("a tuned candidate needs a bound: trials, seconds or both")
        if self.trials is not None and not 1 <= self.trials <= MOST:
            raise UseCaseError(f"a tuned candidate has 1 to {MOST:,} trials, not {self.trials}")
        if self.seconds is not None and not self.seconds > 0:
            raise UseCaseError(f"a tuned candidate has more than 0 seconds, not {self.seconds}")

    def whole(self, name: str) -> bool:
        """Whether the parameter has a range of whole numbers."""
        return all(isinstance(one, int) for one in self.space[name][:2])

    def has(self, name: str, value: Any) -> bool:
        """Whether the space has this value of the parameter."""
        values = self.space.get(name, [])
        if isinstance(values, list):
            return value in values
        kind = int if self.whole(name) else int | float
        return isinstance(value, kind) and not isinstance(value, bool) and values[0] <= value <= values[1]

    def most(self) -> int:
        """Points at most."""
        return MOST if self.trials is None else self.trials


def _problem(values: Any) -> str:
    """What is wrong with the declaration of one parameter; empty when nothing is."""
    if isinstance(values, list):
        if len(values) < 2:
            return "a list has two choices or more"
        kinds = (str, int, float, type(None))
        return (
            ""
            if all(isinstance(one, kinds) for one in values)
            else "a choice is a number, a text, a boolean or None"
        )
    if not isinstance(values, tuple) or len(values) not in (2, 3) or values[2:] not in ((), ("log",)):
        return 'it must be (low, high), (low, high, "log") or a list of choices'
    low, high = values[:2]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (low, high)):
        return "low and high must be numbers"
    if not low < high or high - low == float("inf"):
        return "low must be below high, and both must be finite"
    return "a logarithmic range begins above 0" if values[2:] and low <= 0 else ""
