"""Modules that the steps need, imported once in the process that Airflow forks its tasks from.

A task then imports none of them again, which takes 1 second instead of 5.
"""

import importlib

MODULES = (
    "mlops_lab.loop",
    "mlops_lab.model.train",
    "mlflow.onnx",
    "matplotlib.pyplot",
    "sklearn.ensemble",
    "lightgbm",
    "skl2onnx",
    "onnxruntime",
    "shap",
)


def import_modules() -> None:
    """Imports every module of `MODULES`."""
    for name in MODULES:
        importlib.import_module(name)
