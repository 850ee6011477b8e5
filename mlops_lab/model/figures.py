"""Pictures of a trained model on its held-out rows, and of what moves its predictions."""

import warnings
from pathlib import Path

import numpy as np
from onnx import ModelProto

from mlops_lab.contract import Category, Contract
from mlops_lab.model.explain import explain
from mlops_lab.model.predictor import Predictor

EXPLAINED_ROWS = 100
SHOWN_FEATURES = 15


def draw(
    contract: Contract,
    model: ModelProto,
    matrix: np.ndarray,
    truth: np.ndarray,
    output: np.ndarray,
    folder: Path,
) -> list[Path]:
    """Writes PNG files for encoded held-out rows, their target and the graph's output; returns their paths.

    Regression: predicted.png, errors.png. Binary: curves.png, calibration.png, confusion.png. Multiclass:
    confusion.png. All: shap_summary.png. Nothing when there are no held-out rows.
    """
    import matplotlib

    matplotlib.use("Agg")  # a picture for a file; there may be no screen
    from matplotlib import pyplot

    if not len(matrix):
        return []
    drawn = []

    def save(name: str) -> None:
        drawn.append(folder / name)
        pyplot.gcf().savefig(drawn[-1], dpi=90, bbox_inches="tight")
        pyplot.close("all")

    with pyplot.style.context("default"):
        if contract.task == "regression":
            _predicted(pyplot, contract, truth, output)
            save("predicted.png")
            _errors(pyplot, contract, truth, output)
            save("errors.png")
        else:
            if contract.task == "binary":
                _curves(pyplot, contract, truth, output[:, 1])
                save("curves.png")
                _calibration(pyplot, truth, output[:, 1])
                save("calibration.png")
            _confusion(pyplot, contract, truth, output)
            save("confusion.png")
        _shap_summary(pyplot, contract, model, matrix)
        save("shap_summary.png")
    return drawn


def _predicted(pyplot, contract, truth, output):
    axes = pyplot.subplots(figsize=(6, 6))[1]
    unit = f" ({contract.target.unit})" if contract.target.unit else ""
    axes.scatter(truth, output, s=6, alpha=0.4, linewidths=0)
    ends = [min(truth.min(), output.min()), max(truth.max(), output.max())]
    axes.plot(ends, ends, color="black", linewidth=1)
    axes.set(xlabel=f"true {contract.target.name}{unit}", ylabel=f"predicted{unit}", title="Held-out rows")
    if ends[0] > 0 and ends[1] > 100 * ends[0]:
        axes.set(xscale="log", yscale="log")


def _errors(pyplot, contract, truth, output):
    axes = pyplot.subplots(figsize=(6, 4))[1]
    shown = truth != 0
    relative = np.clip((output - truth)[shown] / np.abs(truth[shown]), -1, 2) * 100
    axes.hist(relative, bins=60)
    axes.axvline(0, color="black", linewidth=1)
    axes.set(
        xlabel="predicted minus true, % of true (200 and more at the end)", ylabel="rows", title="Errors"
    )


def _curves(pyplot, contract, truth, positive):
    from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

    if len(np.unique(truth)) < 2:
        return
    left, right = pyplot.subplots(1, 2, figsize=(10, 4.5))[1]
    RocCurveDisplay.from_predictions(truth, positive, ax=left, plot_chance_level=True)
    PrecisionRecallDisplay.from_predictions(truth, positive, ax=right, plot_chance_level=True)
    for axes, (x, y) in (
        (left, _roc_point(contract, truth, positive)),
        (right, _pr_point(contract, truth, positive)),
    ):
        axes.plot(x, y, "o", color="black", label=f"threshold {contract.threshold:.3f}")
        axes.legend(fontsize="small")


def _roc_point(contract, truth, positive):
    named = positive >= contract.threshold
    return named[truth == 0].mean(), named[truth == 1].mean()


def _pr_point(contract, truth, positive):
    named = positive >= contract.threshold
    return named[truth == 1].mean(), truth[named].mean() if named.any() else 0.0


def _calibration(pyplot, truth, positive):
    axes = pyplot.subplots(figsize=(5, 5))[1]
    edges = np.unique(np.quantile(positive, np.linspace(0, 1, 11)[1:-1]))
    group = np.searchsorted(edges, positive)
    groups = np.unique(group)
    said = [positive[group == g].mean() for g in groups]
    axes.plot(said, [truth[group == g].mean() for g in groups], "o-")
    axes.axline((0, 0), slope=1, color="black", linewidth=1)
    end = max(said) * 1.2 + 1e-3
    axes.set(
        xlabel="predicted probability", ylabel="share that is true", title="Calibration, tenths of the rows"
    )
    axes.set(xlim=(0, end), ylim=(0, end))


def _confusion(pyplot, contract, truth, output):
    from sklearn.metrics import ConfusionMatrixDisplay

    classes = contract.classes
    named = output[:, 1] >= contract.threshold if contract.task == "binary" else output.argmax(axis=1)
    axes = pyplot.subplots(figsize=(6, 5))[1]
    ConfusionMatrixDisplay.from_predictions(
        truth.astype(int),
        named.astype(int),
        labels=range(len(classes)),
        display_labels=classes,
        ax=axes,
        cmap="Blues",
    )


def _shap_summary(pyplot, contract, model, matrix):
    import shap

    sample = matrix[
        np.random.default_rng(0).choice(len(matrix), min(EXPLAINED_ROWS, len(matrix)), replace=False)
    ]
    predictor = Predictor(contract, model.SerializeToString())
    column = predictor.run(sample).argmax(axis=1) if contract.task == "multiclass" else None
    found = explain(predictor.run, sample, predictor.background, column, rounds=1)
    colours = sample.copy()
    for place in contract.categories():  # a code is a rank, not an amount: grey
        colours[:, place] = np.nan
    names = [f.title + (" *" if isinstance(f, Category) else "") for f in contract.features]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an all-grey feature, and its own colours
        shap.plots.beeswarm(
            shap.Explanation(found.values, found.base_values, colours, feature_names=names),
            max_display=SHOWN_FEATURES,
            show=False,
            plot_size=(8, 0.35 * min(SHOWN_FEATURES, len(names)) + 1.5),
        )
    unit = contract.target.unit if contract.task == "regression" else "probability"
    pyplot.gca().set_xlabel(
        f"moves the prediction by{f' ({unit})' if unit else ''}      * category", fontsize=10
    )
