"""One scoring DAG for each use case: predictions for the rows of a file or of a query. It runs when it is triggered."""

import logging
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from pendulum import duration

from mlops_lab.settings import Settings
from mlops_lab.use_case import UseCase, read_use_cases

log = logging.getLogger(__name__)
# Help texts of the parameters in Airflow's form for a manual run.
SOURCE = (
    "an object of the bucket that ends in .csv, .csv.gz or .parquet, or one SELECT on RawData and CleanData, "
    "such as: SELECT * FROM CleanData.housing_clean"
)
TARGET = "an object of the bucket in the folder scoring/, .csv or .parquet; by default scoring/<use case>/<run id>.csv"
VERSION = "of the model; by default the champion"


@task
def score(name, params: Any = None):
    """Scores the rows; the result is path, rows, refused rows, version. A retry goes on where the try before ended."""
    from mlops_lab.errors import LabError, ServiceError, first_line, foreign_errors_as_lines
    from mlops_lab.lab import Lab
    from mlops_lab.scoring.job import run_job

    try:
        with foreign_errors_as_lines():
            lab = Lab(Settings(), progress=log.info)
            run = get_current_context()["run_id"]
            return run_job(
                lab, lab.use_case(name), run, params["source"], params["target"], params["version"]
            )
    except ServiceError:
        raise  # The service can be back at the next try.
    except Exception as error:
        raise AirflowFailException(first_line(error, with_class=not isinstance(error, LabError))) from error


def scoring_dag(use_case: UseCase) -> DAG:
    """The DAG `<use_case>_scoring`."""
    with DAG(
        use_case.scoring_dag,
        description=f"{use_case.title}: predictions for the rows of a file or of a query",
        schedule=None,
        catchup=False,
        # Without a schedule it does nothing by itself; while it was paused, a request would wait.
        is_paused_upon_creation=False,
        # Each run holds a file on disk.
        max_active_runs=1,
        default_args={
            "retries": 20,
            "retry_delay": duration(seconds=15),
            "execution_timeout": duration(hours=12),
        },
        params={
            "source": Param(type="string", minLength=1, maxLength=20_000, title="Rows", description=SOURCE),
            "target": Param(None, type=["null", "string"], maxLength=500, title="Result", description=TARGET),
            "version": Param(None, type=["null", "integer"], minimum=1, title="Version", description=VERSION),
        },
        tags=["scoring", use_case.name],
    ) as dag:
        score(use_case.name)
    return dag


use_cases, faults = read_use_cases(Settings().use_cases)
for file, fault in faults.items():
    log.error("use case file %s can't be used: %s", file, fault)
for use_case in use_cases.values():
    globals()[use_case.scoring_dag] = scoring_dag(use_case)
