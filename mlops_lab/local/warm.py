"""What Airflow's processes do once before they fork a process for each task, or for each reading of a DAG file.

A task then imports nothing again and takes 1 second instead of 5.
"""

import importlib
import tempfile

# What the steps need.
MODULES = (
    "mlops_lab.loop",
    "mlops_lab.model.figures",
    "mlops_lab.model.train",
    "mlflow.onnx",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "sklearn.ensemble",
    "lightgbm",
    "skl2onnx",
    "onnxruntime",
)
# What the DAG files and the use cases need.
DAG_MODULES = ("mlops_lab.candidates", "mlops_lab.settings", "mlops_lab.use_case")


def warm_up_tasks() -> None:
    """Imports every module of `MODULES` and saves a model once.

    With the first model that a process saves, MLflow lists all installed packages, which takes 0.4 seconds.
    """
    _import(MODULES)
    import mlflow.onnx
    from onnx import helper

    empty = helper.make_model(helper.make_graph([], "empty", [], []))
    with tempfile.TemporaryDirectory() as folder:
        mlflow.onnx.save_model(empty, f"{folder}/model", pip_requirements=["mlflow"])


def warm_up_dags() -> None:
    """Imports every module of `DAG_MODULES`."""
    _import(DAG_MODULES)


def _import(names: tuple[str, ...]) -> None:
    for name in names:
        importlib.import_module(name)
