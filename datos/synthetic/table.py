"""A synthetic table held column by column and cut into equal batches."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from datos.synthetic.market import DEFAULT_SCALE
from datos.synthetic.rows import as_text


class SyntheticTable:
    """Base of the synthetic tables: a subclass names itself and draws its columns.

    `scale` is the market's: at the demo's default there are `default_rows`, and never more than `most_rows`,
    the size of the real data set.  Equal arguments give equal bytes.
    """

    source: str
    columns: tuple[str, ...]
    kinds: dict[str, type]
    default_rows: int
    most_rows: int
    batches = 4

    def __init__(self, seed: int = 7, scale: float = DEFAULT_SCALE) -> None:
        self.seed = seed
        rows = int(np.clip(round(self.default_rows * scale / DEFAULT_SCALE), 200, self.most_rows))
        edges = np.linspace(0, rows, self.batches + 1).astype(int)
        self.sizes = tuple(np.diff(edges).tolist())
        self._starts = edges[:-1].tolist()

    def draw(self, rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
        """All columns, each of shape (rows,): texts as objects, or integers."""
        raise NotImplementedError

    def read(self, number: int) -> list[list[str]]:
        """Rows of batch `number` (from 1) as texts in the order of `columns`."""
        rows = slice(self._starts[number - 1], self._starts[number - 1] + self.sizes[number - 1])
        texts = [as_text(self._drawn[name][rows]) for name in self.columns]
        return [list(row) for row in zip(*texts, strict=True)]

    @cached_property
    def _drawn(self) -> dict[str, np.ndarray]:
        return self.draw(
            np.random.Generator(np.random.PCG64([self.seed, len(self.columns)])),
            sum(self.sizes),
        )


def choose(rng: np.random.Generator, shares: Mapping[str, float], rows: int) -> np.ndarray:
    """`rows` texts drawn by `shares` (weights; need not sum to 1)."""
    names = np.array(list(shares), dtype=object)
    edges = np.cumsum(list(shares.values()))
    return names[np.searchsorted(edges, rng.random(rows) * edges[-1], side="right").clip(max=len(names) - 1)]
