"""One DAG that checks the served predictions of each use case every hour, and deletes what is past its time.

A check requests a training when one is needed.
"""

import logging

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.timetables.trigger import CronTriggerTimetable
from pendulum import datetime, duration

from mlops_lab.settings import Settings
from mlops_lab.use_case import read_use_cases

log = logging.getLogger(__name__)


@task.short_circuit
def check(name):
    """The configuration of the requested training run, or None when none is needed: then the request is skipped."""
    from mlops_lab.errors import LabError, NoChampionError, ServiceError, foreign_errors_as_lines
    from mlops_lab.lab import Lab
    from mlops_lab.monitor import monitor

    try:
        with foreign_errors_as_lines():
            lab = Lab(Settings(), progress=log.info)
            found = monitor(lab, lab.use_case(name)).check
    except NoChampionError as reason:
        raise AirflowSkipException(str(reason)) from None
    except ServiceError:
        raise  # The service can be back at the next try.
    except LabError as error:
        raise AirflowFailException(str(error)) from error
    return {"reason": found.reason[:1000]} if found.retrain else None


@task
def clean():
    """Deletes what is past its time. It depends on no check: feedback that none has seen yet is kept."""
    from mlops_lab.errors import foreign_errors_as_lines
    from mlops_lab.lab import Lab
    from mlops_lab.retention import clean

    with foreign_errors_as_lines():
        clean(Lab(Settings(), progress=log.info))


@task
def clean_airflow():
    """Deletes Airflow's runs and logs that are past their time."""
    from mlops_lab.local.airflow_history import forget_airflow

    forget_airflow(Settings(), log.info)


with DAG(
    "monitoring",
    description="Compares recent predictions with the champion's training data; requests a training when needed",
    schedule=CronTriggerTimetable("7 * * * *", timezone="UTC"),
    start_date=datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={
        "retries": 2,
        "retry_delay": duration(seconds=30),
        "execution_timeout": duration(minutes=30),
    },
    tags=["monitoring"],
) as monitoring:
    clean()
    clean_airflow()
    for name, use_case in sorted(read_use_cases(Settings().use_cases)[0].items()):
        reason = "{{ ti.xcom_pull(task_ids='check_%s')['reason'] }}" % name  # noqa: UP031 (braces are Jinja's)
        check.override(task_id=f"check_{name}")(name) >> TriggerDagRunOperator(
            task_id=f"train_{name}",
            trigger_dag_id=use_case.training_dag,
            conf={"force": True, "reason": reason},
        )
