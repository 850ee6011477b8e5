"""From clean rows to a registered, promoted, explained model.

The variables of MLflow's client are set here, because MLflow reads some of them when it is imported, and this comes
before each module that imports it. What a person set stays.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Artifacts go through the server alone: the bucket's own address, which it offers, is out of a client's reach.
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
