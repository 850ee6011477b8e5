"""One training DAG a use case: the loop's steps as Airflow tasks. Nothing here knows a use case by name."""

import logging
from contextlib import contextmanager

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.timetables.trigger import CronTriggerTimetable
from pendulum import datetime, duration

from mlops_lab.settings import Settings
from mlops_lab.use_case import UseCase, read_use_cases

log = logging.getLogger(__name__)


@contextmanager
def opened(name: str):
    """The lab and the use case for one task. What a retry can't mend fails the task at once, in one line."""
    # Imported by the task, not with this file: the DAG processor reads it every few seconds.
    from mlops_lab.data.artifacts import ArtifactError
    from mlops_lab.data.database import StoreError
    from mlops_lab.data.source import SourceError
    from mlops_lab.errors import LabError
    from mlops_lab.lab import Lab

    try:
        lab = Lab(Settings(), say=log.info)
        yield lab, lab.use_case(name)
    except (SourceError, StoreError, ArtifactError):
        raise  # a service that is away may be back at the next try
    except LabError as error:
        raise AirflowFailException(str(error)) from error


def stored(lab, batch_id: int) -> bool:
    """Whether an earlier run has finished with the batch: a training that is asked for learns from its rows again."""
    done = lab.ledger.batch(batch_id).state == "done"
    if done:
        log.info("batch %s is stored; a training on the rows that are there was asked for", batch_id)
    return done


def training_dag(use_case: UseCase) -> DAG:
    """The DAG `<use_case>_training`: from the next batch to a served champion, then the next batch."""
    name = use_case.name

    @task
    def land(params=None):
        from mlops_lab.data.source import EndOfDataError
        from mlops_lab.steps import ingest

        with opened(name) as (lab, found):
            if params["force"]:
                return ingest.newest(lab, found).id
            try:
                return ingest.land(lab, found).id
            except (EndOfDataError, ingest.KnownBatchError) as reason:
                raise AirflowSkipException(str(reason)) from None

    @task
    def validate(batch_id):
        from mlops_lab.steps import ingest

        with opened(name) as (lab, found):
            if not stored(lab, batch_id):
                ingest.validate(lab, found, batch_id)

    @task
    def prepare(batch_id):
        from mlops_lab.steps import ingest

        with opened(name) as (lab, found):
            if not stored(lab, batch_id):
                ingest.prepare(lab, found, batch_id)

    @task
    def decide(batch_id, params=None):
        from mlops_lab.steps import decide

        with opened(name) as (lab, found):
            decision = decide.decide(lab, found, batch_id, params["force"], params["reason"])
            if not decision.train:
                raise AirflowSkipException(decision.reason)
            return [candidate.name for candidate in found.candidates]

    @task(map_index_template="{{ task.op_kwargs['candidate'] }}")
    def train(batch_id, candidate):
        from mlops_lab.steps import train

        with opened(name) as (lab, found):
            return train.train(lab, found, batch_id, candidate)

    # One candidate that crashes doesn't keep the others from competing. The batch isn't an argument: `land` would then
    # be the one success that the rule asks for, and a run that failed before its trainings would promote nothing.
    @task(trigger_rule="all_done_min_one_success")
    def promote(ti=None):
        from mlops_lab.steps import promote

        with opened(name) as (lab, found):
            batch_id = ti.xcom_pull(task_ids="land")
            outcome = promote.promote(lab, found, batch_id)
            if not outcome.promoted:
                raise AirflowSkipException(outcome.reason)
            return outcome.version

    @task
    def roll_out(batch_id, version):
        from mlops_lab.steps import promote

        with opened(name) as (lab, found):
            promote.roll_out(lab, found, batch_id, version)

    # A skipped training and a refused challenger are normal ends of a batch.
    @task.short_circuit(trigger_rule="none_failed")
    def finish(batch_id):
        from mlops_lab.steps import ingest

        if batch_id is None:
            raise AirflowSkipException("there was no new batch")
        with opened(name) as (lab, found):
            return ingest.finish(lab, found, batch_id)

    with DAG(
        f"{name}_training",
        description=f"{use_case.title}: from the next batch to a served champion",
        # The first run at boot; then by the clock, besides the runs that a batch with new rows triggers.
        schedule=CronTriggerTimetable(use_case.schedule, timezone="UTC", run_immediately=True),
        start_date=datetime(2024, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": duration(seconds=10)},
        params={
            "force": Param(
                False,
                type="boolean",
                title="Train now",
                description="on the rows that are there; no batch is fetched",
            ),
            "reason": Param(
                "asked for by hand", type="string", maxLength=1000, description="why, for the batch's run"
            ),
        },
        tags=["training", name],
    ) as dag:
        batch = land()
        decided = decide(batch)
        trained = train.partial(batch_id=batch).expand(candidate=decided)
        promoted = promote()
        finished = finish(batch)
        following = TriggerDagRunOperator(task_id="next", trigger_dag_id=dag.dag_id)
        batch >> validate(batch) >> prepare(batch) >> decided
        trained >> promoted >> roll_out(batch, promoted) >> finished >> following
    return dag


use_cases, faults = read_use_cases(Settings().use_cases)
for file, fault in faults.items():
    log.error("use case file %s can't be used: %s", file, fault)
for use_case in use_cases.values():
    globals()[f"{use_case.name}_training"] = training_dag(use_case)
