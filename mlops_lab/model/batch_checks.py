"""The named checks of a batch: each compares a figure of its rows with the use case's bounds: pass, warn or fail.

Pure functions of whole columns. Where there is a champion, its contract says what the columns were like in its training
rows. docs/decisions.md has the formulas and their sources.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mlops_lab.check_policy import Bound, CheckPolicy
from mlops_lab.contract import Contract
from mlops_lab.data.validate import Problem
from mlops_lab.features import MISSING_CODE, RARE_CODE, Boolean, Category
from mlops_lab.model.drift import feature_drift
from mlops_lab.model.encoding import encoded
from mlops_lab.model.new_categories import frequent_new, named
from mlops_lab.use_case import UseCase

PASS, WARN, FAIL = "pass", "warn", "fail"
# So many spreads (90th minus 10th percentile) beyond these percentiles, a value is extreme.
FENCE = 3.0
# Names in a sentence, and in the record of a payload's columns.
NAMED, COLUMNS = 5, 500
# Edges of a reference below which its outer ones aren't near the 10th and 90th percentile.
MIN_EDGES = 3


@dataclass(frozen=True)
class BatchCheck:
    """One check of one batch. outcome: pass, warn or fail. text: the figures in words."""

    name: str
    outcome: str
    text: str
    figures: dict[str, Any] = field(default_factory=dict)


def schema(columns: Sequence[str], use_case: UseCase, before: Sequence[str] | None) -> BatchCheck:
    """Columns that are new, gone or in another order than in the batch before. Missing ones never get this far.

    before: None for a first batch, whose columns are compared with those of the use case's layouts, if it has some.
    """
    columns = list(columns)[:COLUMNS]
    layouts = {name for layout in use_case.layouts for name in layout}
    known = layouts | {column.name for column in use_case.columns} if layouts else columns
    new = [name for name in columns if name not in (known if before is None else before)]
    gone = [name for name in before or () if name not in columns]
    common = [name for name in before or () if name in columns]
    moved = common != [name for name in columns if name in common]
    says = [f"new: {_names(new)}"] * bool(new) + [f"gone: {_names(gone)}"] * bool(gone)
    says += ["the columns have another order than in the batch before"] * moved
    figures = {"columns": columns, "new": new, "gone": gone, "reordered": moved}
    return BatchCheck("schema", WARN if says else PASS, "; ".join(says) or f"{len(columns)} columns", figures)


def ranges(received: int, problems: Sequence[Problem], policy: CheckPolicy) -> BatchCheck:
    """The rows in quarantine: a value out of its range, of a wrong type or not allowed, or a broken rule."""
    rules = Counter(f"{problem.column} ({problem.rule})" for problem in problems)
    share = len({problem.row for problem in problems}) / received if received else 0.0
    most = ", ".join(f"{rule} {count:,}" for rule, count in rules.most_common(NAMED))
    text = f"{share:.1%} of the rows are in quarantine" + (f": {most}" if most else "")
    outcome = _outcome(share, policy.ranges, received, policy)
    return BatchCheck("ranges", outcome, text, {"share": _round(share), "rules": dict(rules.most_common(20))})


def content(
    use_case: UseCase, typed: pd.DataFrame, clean: pd.DataFrame, known: int, champion: Contract | None
) -> list[BatchCheck]:
    """The checks of the rows themselves.

    typed: the good rows, one column for each raw column. clean: the clean rows, with features, target and row_hash.
    known: distinct clean rows that earlier batches brought. champion: its contract, or None.
    """
    coded = (
        {f.name: encoded(f, clean[f.name]) for f in champion.features if f.name in clean} if champion else {}
    )
    return [
        _sufficiency(use_case, clean),
        _nulls(use_case, typed, champion),
        _duplicates(use_case, clean, known),
        _extremes(use_case, clean, champion),
        _target(use_case, clean),
        _categories(use_case, clean, coded, champion),
        _drift(use_case, coded, champion),
    ]


def _sufficiency(use_case: UseCase, clean: pd.DataFrame) -> BatchCheck:
    policy, n = use_case.checks, len(clean)
    outcome = FAIL if n < policy.fewest else WARN if n < policy.min_rows else PASS
    least = policy.fewest if outcome == FAIL else policy.min_rows
    text = f"{n:,} clean rows" + (f", fewer than {least:,}" if outcome != PASS else "")
    return BatchCheck("sufficiency", outcome, text, {"rows": n})


def _nulls(use_case: UseCase, typed: pd.DataFrame, champion: Contract | None) -> BatchCheck:
    """Without a champion nothing is expected of a column, except that it isn't empty altogether."""
    now = (
        {column.name: float(typed[column.name].isna().mean()) for column in use_case.columns}
        if len(typed)
        else {}
    )
    before = dict(_null_shares(champion)) if champion else {}
    if champion and not use_case.derived_target:
        before[use_case.target.name] = 0.0
    rises = {name: share - before[name] for name, share in now.items() if name in before}
    worst = max(rises.values(), default=0.0)
    outcome = _outcome(worst, use_case.checks.nulls, len(typed), use_case.checks)
    empty = [name for name, share in now.items() if share == 1 and before.get(name, 0) < 1]
    if empty and outcome == PASS:
        outcome = WARN
    over = _over(rises, use_case.checks.nulls.warn)
    says = [
        f"{name} {now[name]:.0%} null ({before[name]:.0%} in the champion's training rows)" for name in over
    ]
    says += [f"{name} has no value" for name in empty if name not in over]
    figures = {
        "shares": _rounded({name: share for name, share in now.items() if share}),
        "worst": _round(worst),
    }
    return BatchCheck("nulls", outcome, _listed(says) or "no column has many more nulls than before", figures)


def _duplicates(use_case: UseCase, clean: pd.DataFrame, known: int) -> BatchCheck:
    repeated, n = int(clean["row_hash"].duplicated().sum()), len(clean)
    share = (repeated + known) / n if n else 0.0
    text = f"{share:.0%} of the clean rows: {repeated:,} repeated in the batch, {known:,} known from earlier batches"
    outcome = _outcome(share, use_case.checks.duplicates, n, use_case.checks)
    return BatchCheck(
        "duplicates", outcome, text, {"share": _round(share), "repeated": repeated, "known": known}
    )


def _extremes(use_case: UseCase, clean: pd.DataFrame, champion: Contract | None) -> BatchCheck:
    """Values beyond the fence: the 10th and 90th percentile, and `FENCE` times their distance beyond them."""
    shares = {}
    for feature in (*use_case.features, use_case.target):
        if isinstance(feature, Category | Boolean) or clean.empty:
            continue
        values = encoded(feature, clean[feature.name])
        values = values[~np.isnan(values)]
        if (fence := _fence(feature.name, values, champion)) and len(values):
            low, high = fence
            shares[feature.name] = float(np.mean((values < low) | (values > high)))
    worst = max(shares.values(), default=0.0)
    over = _over(shares, use_case.checks.extremes.warn)
    whose = "the champion's training rows" if champion else "most of its rows"
    text = _listed([f"{shares[name]:.0%} of {name} far outside of {whose}" for name in over])
    return BatchCheck(
        "extremes",
        _outcome(worst, use_case.checks.extremes, len(clean), use_case.checks),
        text or f"at most {worst:.1%} of a column",
        {
            "shares": _rounded({name: share for name, share in shares.items() if share}),
            "worst": _round(worst),
        },
    )


def _fence(name: str, values: np.ndarray, champion: Contract | None) -> tuple[float, float] | None:
    """The smallest and the largest value that isn't extreme; None for a column without a spread."""
    if champion and name == champion.target.name and "p10" in champion.target_reference:
        low, high = champion.target_reference["p10"], champion.target_reference["p90"]
    elif champion and name in champion.reference:
        edges = champion.reference[name].edges
        if len(edges) < MIN_EDGES:
            return None
        low, high = edges[0], edges[-1]
    elif len(values):
        low, high = (float(value) for value in np.quantile(values, [0.1, 0.9]))
    else:
        return None
    spread = FENCE * (high - low)
    return (low - spread, high + spread) if spread > 0 else None


def _target(use_case: UseCase, clean: pd.DataFrame) -> BatchCheck:
    """Rows with equal features and different targets: no model can predict them all."""
    target, n = use_case.target.name, len(clean)
    rows = clean.drop_duplicates("row_hash")
    features = pd.util.hash_pandas_object(rows[[f.name for f in use_case.features]], index=False)
    different = rows[target].groupby(features.to_numpy()).transform("nunique") > 1
    contradicting = int(clean["row_hash"].isin(rows.loc[different, "row_hash"]).sum())
    share = contradicting / n if n else 0.0
    text = f"{share:.1%} of the rows have the features of another row and another {target}"
    outcome = _outcome(share, use_case.checks.target, n, use_case.checks)
    return BatchCheck("target", outcome, text, {"share": _round(share), "rows": contradicting})


def _categories(
    use_case: UseCase, clean: pd.DataFrame, coded: Mapping[str, np.ndarray], champion: Contract | None
) -> BatchCheck:
    if champion is None or clean.empty:
        return BatchCheck("categories", PASS, "nothing to compare with yet")
    new = frequent_new(champion, clean, use_case.retrain.new_category)
    shares = {
        feature.name: float(np.mean(coded[feature.name] == RARE_CODE))
        for feature in champion.features
        if isinstance(feature, Category) and feature.name in coded
    }
    rises = {
        name: share - champion.reference[name].shares[RARE_CODE]
        for name, share in shares.items()
        if name in champion.reference
    }
    worst = max(rises.values(), default=0.0)
    outcome = _outcome(worst, use_case.checks.categories, len(clean), use_case.checks)
    says = [f"new and frequent: {named(new)}"] * bool(new)
    over = _over(rises, use_case.checks.categories.warn)
    says += [
        f"{shares[name]:.0%} of {name} without a code ({shares[name] - rises[name]:.0%} in training)"
        for name in over
    ]
    outcome = WARN if new and outcome == PASS else outcome
    figures = {"new": {name: _rounded(values) for name, values in new.items()}, "unknown": _rounded(shares)}
    return BatchCheck("categories", outcome, "; ".join(says) or "no new value is frequent", figures)


def _drift(use_case: UseCase, coded: Mapping[str, np.ndarray], champion: Contract | None) -> BatchCheck:
    if champion is None:
        return BatchCheck("drift", PASS, "nothing to compare with yet")
    names = [feature.name for feature in champion.features]
    n = min((len(column) for column in coded.values()), default=0)
    if n < champion.retrain.min_drift_rows:
        return BatchCheck("drift", PASS, f"computed from {champion.retrain.min_drift_rows:,} rows on")
    # A feature that the use case doesn't declare any more has no drift of its own.
    empty = np.full(n, np.nan, dtype=np.float32)
    matrix = np.column_stack([coded.get(name, empty) for name in names])
    found = {name: value for name, value in feature_drift(champion, matrix).items() if name in coded}
    worst = max(found, key=lambda name: found[name], default="")
    bound = Bound(champion.retrain.psi, use_case.checks.drift_fail)
    outcome = _outcome(found.get(worst, 0.0), bound, n, use_case.checks)
    text = (
        f"{worst} moved most (PSI {found[worst]:.2f}, the bound is {bound.warn:g})" if worst else "no feature"
    )
    return BatchCheck("drift", outcome, text, {"psi": _rounded(found), "bound": bound.warn})


def _null_shares(champion: Contract) -> Iterator[tuple[str, float]]:
    """The share of nulls in the champion's training rows: a category's first bin, another column's last one."""
    for feature in champion.features:
        if found := champion.reference.get(feature.name):
            yield feature.name, found.shares[MISSING_CODE if isinstance(feature, Category) else -1]


def _outcome(figure: float, bound: Bound, rows: int, policy: CheckPolicy) -> str:
    if bound.fail is not None and figure > bound.fail and rows >= policy.min_rows:
        return FAIL
    return WARN if figure > bound.warn else PASS


def _over(figures: Mapping[str, float], bound: float) -> list[str]:
    """The names whose figure is above the bound, the greatest first."""
    return sorted(
        (name for name, figure in figures.items() if figure > bound), key=lambda name: -figures[name]
    )


def _listed(says: Sequence[str]) -> str:
    more = f", and {len(says) - NAMED} more" if len(says) > NAMED else ""
    return ", ".join(says[:NAMED]) + more


def _names(names: Sequence[str]) -> str:
    return _listed([name[:60] for name in names])


def _round(value: float) -> float:
    return round(float(value), 6)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: _round(value) for name, value in values.items()}
