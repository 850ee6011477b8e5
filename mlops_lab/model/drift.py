"""Drift of the inputs: reference histograms of the training rows, and the population stability index (PSI)."""

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mlops_lab.contract import Contract, Reference
from mlops_lab.features import FIRST_CODE, RARE_CODE, Boolean, Category, Feature
from mlops_lab.formatting import bound, yes_no

NUMBER_BINS = 10
TOP_CATEGORIES = 20
MIN_FRACTION = 1e-4


def reference(column: np.ndarray, category: bool = False) -> Reference:
    """How an encoded training column, float (n,), is distributed.

    Numbers: up to ten bins with equal shares (fewer where values repeat), and missing. Categories: missing, rare or
    unknown, the twenty most frequent values one by one, all others.
    """
    # float32, as the model's input: values that are equal there must share a bin.
    column = np.asarray(column, dtype=np.float32)
    present = column[~np.isnan(column)]
    if category:
        last = int(present.max(initial=RARE_CODE))
        edges = np.arange(min(last, FIRST_CODE + TOP_CATEGORIES - 1) + 1) + 0.5
    elif len(present):
        quantiles = np.quantile(present, np.linspace(0, 1, NUMBER_BINS + 1)[1:-1], method="inverted_cdf")
        edges = np.unique(quantiles[quantiles < present.max()])
        if not len(edges):
            # The column has nearly one value: the bins are less, that value, and more.
            edges = np.array([np.nextafter(present.max(), np.float32(-np.inf)), present.max()])
    else:
        edges = np.array([0.0])
    bare = Reference(edges=edges.astype(np.float64).tolist(), shares=[])
    found = histogram(bare, column)
    return Reference(edges=bare.edges, shares=(found / max(found.sum(), 1)).tolist())


def histogram(reference: Reference, column: np.ndarray) -> np.ndarray:
    """Rows of an encoded column in each bin of the reference and, last, missing: int (len(edges) + 2,)."""
    missing = np.isnan(column)
    bins = np.searchsorted(reference.edges, np.asarray(column, dtype=np.float64), side="left")
    bins[missing] = len(reference.edges) + 1
    return np.bincount(bins, minlength=len(reference.edges) + 2)


def feature_drift(contract: Contract, matrix: np.ndarray) -> dict[str, float]:
    """The population stability index of every feature that has a reference, by name.

    matrix: encoded rows, float32 (n, features).
    """
    return {
        feature.name: psi(contract.reference[feature.name], matrix[:, index])
        for index, feature in enumerate(contract.features)
        if feature.name in contract.reference
    }


def bin_names(feature: Feature, edges: Sequence[float]) -> list[str]:
    """The names of the bins of a feature's reference with these edges, the last one of missing values."""
    if isinstance(feature, Category):
        known = ["missing", "rare or unknown", *map(feature.label, feature.vocabulary)]
        return [*known[: len(edges)], "all others", "not a code"]
    if isinstance(feature, Boolean) and len(edges) == 1:
        return [yes_no(False), yes_no(True), "missing"]
    ends = [bound(feature, edge) for edge in edges]
    if len(ends) == 2 and ends[0] == ends[1]:
        # A column of nearly one value: less, that value, and more.
        return [f"below {ends[0]}", ends[0], f"over {ends[0]}", "missing"]
    return [
        f"up to {ends[0]}",
        *(f"{low} to {high}" for low, high in pairwise(ends)),
        f"over {ends[-1]}",
        "missing",
    ]


def distributions(contract: Contract, matrix: np.ndarray) -> dict[str, dict[str, list[Any]]]:
    """What is behind the indices of `feature_drift`: by feature, the bins that any row is in.

    Each has `bins`, their names; `training`, the fractions of the training rows in them; `new`, of the matrix's rows.
    """
    found = {}
    for index, feature in enumerate(contract.features):
        if (known := contract.reference.get(feature.name)) is None:
            continue
        counts = histogram(known, matrix[:, index])
        new = counts / max(counts.sum(), 1)
        rows = [
            (name, round(before, 6), round(float(now), 6))
            for name, before, now in zip(bin_names(feature, known.edges), known.shares, new, strict=True)
            if before or now
        ]
        found[feature.name] = {
            "bins": [name for name, _, _ in rows],
            "training": [before for _, before, _ in rows],
            "new": [now for _, _, now in rows],
        }
    return found


def psi(reference: Reference, column: np.ndarray) -> float:
    """Population stability index of an encoded column against the reference; 0 for an empty column."""
    return psi_of_counts(reference, histogram(reference, column))


def psi_of_counts(reference: Reference, counts: np.ndarray) -> float:
    """Population stability index of a histogram's counts: the sum over bins of (p - q) · ln(p / q).

    Siddiqi, Credit Risk Scorecards, 2006: below 0.1 stable, above 0.25 shifted. A share below 0.0001 counts as
    0.0001, so that an empty bin stays finite (the customary floor, that of Evidently for example).
    By chance alone n rows give about (bins - 1) / n (Yurdakul, Statistical properties of PSI, 2018).
    """
    if not (total := counts.sum()):
        return 0.0
    p = np.maximum(counts / total, MIN_FRACTION)
    q = np.maximum(reference.shares, MIN_FRACTION)
    return float(np.sum((p - q) * np.log(p / q)))


class DriftCounter:
    """Counts the encoded rows that a service predicts, at constant cost and memory, and reports their drift.

    It reports on the latest rows: at least `window` of them once so many came, at most twice as many. The window is
    never smaller than the contract's `min_drift_rows`. Threads may share a counter.
    """

    # Rows are counted together once so many came. One by one they would cost ten times as much.
    FLUSH_ROWS = 512

    def __init__(self, contract: Contract, window: int = 2000):
        self._features = [
            (index, f.name) for index, f in enumerate(contract.features) if f.name in contract.reference
        ]
        self._references = {name: contract.reference[name] for _, name in self._features}
        categories = set(contract.categories())
        self._categories = [(p, contract.features[p].name) for p in sorted(categories)]
        self._min_rows = contract.retrain.min_drift_rows
        self.window = max(window, self._min_rows)
        self._lock = threading.Lock()
        self._waiting: list[np.ndarray] = []
        self._rows_waiting = 0
        self._older, self._newer = self._empty(), self._empty()
        self._older_rows = self._newer_rows = 0
        self._unknown = {name: 0 for _, name in self._categories}

    def add(self, matrix: np.ndarray) -> None:
        """Counts an encoded matrix, float32 (n, features)."""
        with self._lock:
            self._waiting.append(matrix)
            self._rows_waiting += len(matrix)
            if self._rows_waiting >= self.FLUSH_ROWS:
                self._flush()

    @property
    def rows(self) -> int:
        """The number of rows that the report is about."""
        with self._lock:
            return self._older_rows + self._newer_rows + self._rows_waiting

    def report(self) -> dict[str, float]:
        """The index of every feature, by name; empty below the contract's `min_drift_rows`."""
        with self._lock:
            self._flush()
            if self._older_rows + self._newer_rows < self._min_rows:
                return {}
            counts = {name: self._older[name] + self._newer[name] for name in self._references}
        return {name: psi_of_counts(self._references[name], found) for name, found in counts.items()}

    def unknown(self) -> dict[str, int]:
        """By category: how many values had no code of their own (rare or unknown) since the model was loaded."""
        with self._lock:
            self._flush()
            return dict(self._unknown)

    def _flush(self) -> None:
        if not self._waiting:
            return
        matrix = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        self._waiting.clear()
        self._rows_waiting = 0
        for part in self._windows(matrix):
            for index, name in self._features:
                self._newer[name] += histogram(self._references[name], part[:, index])
            self._newer_rows += len(part)
        for index, name in self._categories:
            self._unknown[name] += int(np.count_nonzero(matrix[:, index] == RARE_CODE))

    def _windows(self, matrix: np.ndarray) -> Iterator[np.ndarray]:
        """The matrix in parts that fit into the rest of the window. A full window becomes the older one first."""
        while len(matrix):
            if self._newer_rows >= self.window:
                self._older, self._older_rows = self._newer, self._newer_rows
                self._newer, self._newer_rows = self._empty(), 0
            room = self.window - self._newer_rows
            yield matrix[:room]
            matrix = matrix[room:]

    def _empty(self) -> dict[str, np.ndarray]:
        return {name: np.zeros(len(r.edges) + 2, dtype=np.int64) for name, r in self._references.items()}
