"""Plots of a trained model: its errors on the test rows, its SHAP values, and the drift of its inputs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from mlops_lab.contract import Contract
from mlops_lab.features import Category
from mlops_lab.formatting import show
from mlops_lab.model.beeswarm import beeswarm
from mlops_lab.model.drift import bin_names
from mlops_lab.model.evaluate import confidence, reliability
from mlops_lab.model.explain import explain
from mlops_lab.model.predictor import Predictor

EXPLAINED_ROWS = 100
SHOWN_FEATURES = 15
SHOWN_DRIFT = 20
DPI = 90


def draw(
    contract: Contract,
    model: ModelProto,
    matrix: np.ndarray,
    truth: np.ndarray,
    output: np.ndarray,
    folder: Path,
) -> list[Path]:
    """Writes PNG files for encoded test rows, their ground truth and the graph's output; returns their paths.

    Regression: predicted.png, errors.png. Binary: curves.png. Both kinds of classification: calibration.png,
    confusion.png. All: shap_summary.png. Nothing when there are no test rows.
    """
    if not len(matrix):
        return []
    with _drawing(folder) as (pyplot, save):
        if contract.task == "regression":
            _predicted(pyplot, contract, truth, output)
            drawn = [save("predicted.png")]
            _errors(pyplot, truth, output)
            drawn.append(save("errors.png"))
        else:
            drawn = []
            if contract.task == "binary":
                _curves(pyplot, contract, truth, output[:, 1])
                drawn.append(save("curves.png"))
            _calibration(pyplot, contract, truth, output)
            drawn.append(save("calibration.png"))
            _confusion(pyplot, contract, truth, output)
            drawn.append(save("confusion.png"))
        _shap_summary(pyplot, contract, model, matrix)
        drawn.append(save("shap_summary.png"))
    return drawn


def draw_drift(
    contract: Contract,
    drift: dict[str, float],
    shares: dict[str, dict[str, list[float]]],
    rows: int,
    folder: Path,
) -> Path:
    """Writes drift.png. Left, the index of every feature; right, the bins of the feature with the highest index.

    shares: for each feature, `edges`, and the fractions of the rows in each bin: `training` and `served`.
    rows:   the number of served rows.
    """
    ranked = sorted(drift, key=lambda name: drift[name])[-SHOWN_DRIFT:]
    worst = next(feature for feature in contract.features if feature.name == ranked[-1])
    found = shares[worst.name]
    with _drawing(folder) as (pyplot, save):
        left, right = pyplot.subplots(1, 2, figsize=(12, 1.5 + 0.3 * max(8, len(ranked))))[1]
        left.barh(ranked, [drift[name] for name in ranked])
        left.axvline(0.1, color="grey", linewidth=1, linestyle=":")
        left.axvline(contract.retrain.psi, color="black", linewidth=1)
        bound = f"{contract.retrain.psi:g}"
        left.set(xlabel="population stability index", title=f"below 0.1 stable, above {bound} shifted")
        bins = np.arange(len(found["training"]))
        right.bar(bins - 0.2, found["training"], 0.4, label="training")
        right.bar(bins + 0.2, found["served"], 0.4, label=f"served, {rows:,} rows")
        right.set_xticks(
            bins,
            [name[:25] for name in bin_names(worst, found["edges"])],
            rotation=60,
            ha="right",
            fontsize="small",
        )
        right.set(ylabel="fraction of the rows", title=worst.title)
        right.legend()
        return save("drift.png")


@contextmanager
def _drawing(folder: Path) -> Iterator[tuple[Any, Callable[[str], Path]]]:
    """(pyplot, save): `save` writes the current figure into the folder. It works without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def save(name: str) -> Path:
        figure = pyplot.gcf()
        figure.set_dpi(DPI)
        # bbox_inches="tight" would draw the figure twice.
        box = figure.get_tightbbox().padded(0.1)
        figure.savefig(folder / name, dpi=DPI, bbox_inches=box)
        pyplot.close("all")
        return folder / name

    with pyplot.style.context("default"):
        yield pyplot, save


def _predicted(pyplot: Any, contract: Contract, truth: np.ndarray, output: np.ndarray) -> None:
    axes = pyplot.subplots(figsize=(6, 6))[1]
    unit = f" ({contract.target.unit})" if contract.target.unit else ""
    axes.scatter(truth, output, s=6, alpha=0.4, linewidths=0)
    ends = [min(truth.min(), output.min()), max(truth.max(), output.max())]
    axes.plot(ends, ends, color="black", linewidth=1)
    axes.set(xlabel=f"true {contract.target.name}{unit}", ylabel=f"predicted{unit}", title="Test rows")
    if ends[0] > 0 and ends[1] > 100 * ends[0]:
        axes.set(xscale="log", yscale="log")


def _errors(pyplot: Any, truth: np.ndarray, output: np.ndarray) -> None:
    axes = pyplot.subplots(figsize=(6, 4))[1]
    shown = truth != 0
    relative = np.clip((output - truth)[shown] / np.abs(truth[shown]), -1, 2) * 100
    axes.hist(relative, bins=60)
    axes.axvline(0, color="black", linewidth=1)
    axes.set(
        xlabel="predicted minus true, % of true (200 and more at the end)", ylabel="rows", title="Errors"
    )


def _curves(pyplot: Any, contract: Contract, truth: np.ndarray, positive: np.ndarray) -> None:
    from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

    if len(np.unique(truth)) < 2:
        return
    left, right = pyplot.subplots(1, 2, figsize=(10, 4.5))[1]
    RocCurveDisplay.from_predictions(truth, positive, ax=left, plot_chance_level=True)
    PrecisionRecallDisplay.from_predictions(truth, positive, ax=right, plot_chance_level=True)
    predicted = positive >= contract.threshold
    recall = predicted[truth == 1].mean()
    precision = truth[predicted].mean() if predicted.any() else 0.0
    for axes, point in ((left, (predicted[truth == 0].mean(), recall)), (right, (recall, precision))):
        axes.plot(*point, "o", color="black", label=f"threshold {contract.threshold:.3f}")
        axes.legend(fontsize="small")


def _calibration(pyplot: Any, contract: Contract, truth: np.ndarray, output: np.ndarray) -> None:
    axes = pyplot.subplots(figsize=(5, 5))[1]
    predicted, came, _ = reliability(*confidence(contract, truth, output))
    axes.plot(predicted, came, "o-")
    axes.axline((0, 0), slope=1, color="black", linewidth=1)
    binary = contract.task == "binary"
    end = min(1.02, max(predicted.max(), came.max()) * 1.2 + 1e-3)
    axes.set(
        xlabel="predicted probability" + ("" if binary else " of the most probable class"),
        ylabel="fraction that is " + ("true" if binary else "this class"),
        title="Calibration, tenths of the rows",
    )
    axes.set(xlim=(0, end), ylim=(0, end))


def _confusion(pyplot: Any, contract: Contract, truth: np.ndarray, output: np.ndarray) -> None:
    from sklearn.metrics import ConfusionMatrixDisplay

    classes = [show(contract.target, name) for name in contract.classes]
    binary = contract.task == "binary"
    predicted = output[:, 1] >= contract.threshold if binary else output.argmax(axis=1)
    axes = pyplot.subplots(figsize=(6, 5))[1]
    ConfusionMatrixDisplay.from_predictions(
        truth.astype(int),
        predicted.astype(int),
        labels=range(len(classes)),
        display_labels=classes,
        xticks_rotation="vertical" if max(map(len, classes)) > 5 else "horizontal",
        ax=axes,
        cmap="Blues",
    )


def _shap_summary(pyplot: Any, contract: Contract, model: ModelProto, matrix: np.ndarray) -> None:
    sample = matrix[
        np.random.default_rng(0).choice(len(matrix), min(EXPLAINED_ROWS, len(matrix)), replace=False)
    ]
    predictor = Predictor(contract, model.SerializeToString())
    column = predictor.run(sample).argmax(axis=1) if contract.task == "multiclass" else None
    found = explain(predictor.run, sample, predictor.background, column, rounds=1)
    colours = sample.copy()
    # A category's code is a rank, not an amount, so it gets no colour.
    for index in contract.categories():
        colours[:, index] = np.nan
    names = [f.title + (" *" if isinstance(f, Category) else "") for f in contract.features]
    axes = beeswarm(pyplot, found.values, colours, names, SHOWN_FEATURES)
    unit = contract.target.unit if contract.task == "regression" else "probability"
    axes.set_xlabel(f"moves the prediction by{f' ({unit})' if unit else ''}      * category", fontsize=10)
