"""From clean rows to a registered, promoted, explained model.

The variables of MLflow's client are set here, because MLflow reads some of them when it is imported, and this comes
before each module that imports it. What a person set stays.
"""

import os

from mlops_lab.model.waits import WAITS

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Artifacts go through the server alone: the bucket's own address, which it offers, is out of a client's reach.
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
# Embedded and in the stack MLflow's server is near: long retries only hide a fault.
for _variable, (_usual, _) in WAITS.items():
    os.environ.setdefault(_variable, _usual)
