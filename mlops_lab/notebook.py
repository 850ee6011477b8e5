"""`open_lab()`: the first cell of every notebook calls it, in the embedded lab and in the stack."""

import sys
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from mlops_lab.data.source import DataApi
from mlops_lab.data.tables import Batch
from mlops_lab.errors import LabError, first_line, without_login
from mlops_lab.lab import Lab
from mlops_lab.settings import REPOSITORY, Settings
from mlops_lab.use_case import UseCase

# The Data API keeps a position for each group. The pipeline is group 1; a notebook takes no batch away from it.
EXPLORER = 10


def open_lab() -> Lab:
    """The lab of this environment (`LAB_*`, `LAB_SECRETS_DIR`), else the lab in the checkout's folder `.lab`.

    Afterwards a `LabError` is shown in the notebook as one line, without a traceback.
    Raises `LabError` when the databases or MLflow can't be used.
    """
    _show_errors_as_lines()
    settings = Settings()
    # By default LAB_HOME is below the working folder, which for a notebook is its own folder.
    if "home" not in settings.model_fields_set:
        settings = settings.model_copy(update={"home": REPOSITORY / ".lab"})
    lab = Lab(settings)
    use_case = lab.use_case(settings.default_use_case)
    stored = sum(batch.stored or 0 for batch in _batches(lab, use_case))
    _check_mlflow(lab)
    print(f"{use_case.title}: {stored:,} raw rows in {without_login(lab.settings.raw_url)}")
    print(f"Data API {without_login(settings.data_api_url)}, MLflow {without_login(settings.tracking_uri)}")
    return lab


def data_api(lab: Lab) -> DataApi:
    """A client of the Data API for group `EXPLORER`, so that a notebook takes no batch away from the pipeline."""
    url = lab.settings.data_api_url
    return lab.data_api(f"{url}{'&' if '?' in url else '?'}group_number={EXPLORER}")


def saved_answers(lab: Lab, use_case: UseCase, count: int = 2) -> list[Path]:
    """The first `count` answers of the Data API as files under LAB_HOME. They are requested only once.

    Raises `SourceError`, and `EndOfDataError` when there are fewer.
    """
    folder = lab.settings.home / "answers" / use_case.name
    files = [folder / f"answer-{number}.json" for number in range(1, count + 1)]
    if not all(file.exists() for file in files):
        folder.mkdir(parents=True, exist_ok=True)
        api = data_api(lab)
        api.restart(use_case.dataset)
        for file in files:
            api.fetch(use_case.dataset, file)
    return files


def _batches(lab: Lab, use_case: UseCase) -> list[Batch]:
    batches: list[Batch] = []
    try:
        batches = lab.ledger.batches(use_case.name)
    except SQLAlchemyError as error:
        text = first_line(error)
        if "no such table" not in text and "doesn't exist" not in text:
            raise LabError(
                f"the database can't be read: {text}; check LAB_RAW_DB_URL, or its file in LAB_SECRETS_DIR"
            ) from None
    if not batches:
        raise LabError(
            f"{use_case.name} has no batch yet in {without_login(lab.settings.raw_url)}; run the loop first "
            f"(`make demo`, `lab run {use_case.name}`, or Airflow in the stack)"
        )
    return batches


def _check_mlflow(lab: Lab) -> None:
    # Here, after the package that turns its telemetry off.
    from mlflow.exceptions import MlflowException

    try:
        lab.registry.client.search_experiments(max_results=1)
    except MlflowException as error:
        text, where = first_line(error), without_login(lab.settings.tracking_uri)
        if "401" in text or "403" in text:
            raise LabError(
                f"MLflow at {where} refuses this login; check LAB_MLFLOW_USERNAME and LAB_MLFLOW_PASSWORD"
            ) from None
        raise LabError(f"MLflow at {where} can't be used: {text[:300]}; check LAB_MLFLOW_URL") from None


def _show_errors_as_lines() -> None:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell:
        shell.set_custom_exc((LabError,), _show)


def _show(shell: Any, kind: Any, error: Exception, _traceback: Any, tb_offset: Any = None) -> list[str]:
    line = f"error: {error}"
    shell._showtraceback(kind, error, [line])
    return [line]
