"""One training DAG for each use case: the loop's steps as Airflow tasks. No use case is named in this file."""

import logging
from inspect import Parameter, Signature, signature
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout
from airflow.timetables.trigger import CronTriggerTimetable
from pendulum import datetime, duration

from mlops_lab.settings import Settings
from mlops_lab.use_case import UseCase, read_use_cases

log = logging.getLogger(__name__)
# Help texts of the two parameters in Airflow's form for a manual run.
FORCE = "trains on the stored rows; no batch is requested from the Data API"
REASON = "the reason, recorded in the batch's run"


def step(kind=task, **options):
    """Makes a task `run(name, …)` of a function `run(lab, use_case, …)`. It opens the lab and finds the use case.

    An error that a retry can't solve fails the task at once, in one line. A broken or held batch is skipped: the ledger
    has the reason, and the next batch follows.
    """

    def make(run):
        def opened(name, *arguments, **named):
            # Tasks import the library, this file doesn't: the DAG processor reads it every few seconds.
            from mlops_lab.data.payload import ClosedBatchError
            from mlops_lab.errors import LabError, ServiceError, first_line, foreign_errors_as_lines
            from mlops_lab.lab import Lab
            from mlops_lab.steps.attempts import attempt

            try:
                with foreign_errors_as_lines():
                    lab = Lab(Settings(), progress=log.info)
                    use_case = lab.use_case(name)
                    batch = get_current_context()["ti"].xcom_pull(task_ids="land")
                    with lab.turns.hold(name, shared=True), attempt(lab, batch):
                        try:
                            return run(lab, use_case, *arguments, **named)
                        except AirflowSkipException as reason:
                            skip = reason  # Raised below: it isn't a failed attempt.
                        except AirflowTaskTimeout as end:
                            # It isn't an `Exception`, but a step that hangs each time must not stop the loop for ever.
                            raise LabError(
                                f"{run.__name__} took longer than a task may; mend the use case, or raise "
                                "execution_timeout in dags/training.py"
                            ) from end
                    raise skip
            except (ServiceError, AirflowSkipException):
                raise  # The service can be back at the next try.
            except ClosedBatchError as closed:
                raise AirflowSkipException(str(closed)) from None
            except Exception as error:
                raise AirflowFailException(
                    first_line(error, with_class=not isinstance(error, LabError))
                ) from error

        # Airflow fills a task's arguments by their names.
        own = list(signature(run).parameters.values())[2:]
        function: Any = opened
        function.__signature__ = Signature([Parameter("name", Parameter.POSITIONAL_OR_KEYWORD), *own])
        function.__name__ = run.__name__
        return kind(**options)(function)

    return make


@step()
def land(lab, use_case, params: Any = None):
    from mlops_lab.data.source import EndOfDataError
    from mlops_lab.steps.approve import apply_default
    from mlops_lab.steps.ingest import KnownBatchError, land, newest

    apply_default(lab, use_case)
    if params["force"]:
        return newest(lab, use_case).id
    try:
        return land(lab, use_case).id
    except (EndOfDataError, KnownBatchError) as reason:
        raise AirflowSkipException(str(reason)) from None


@step()
def validate(lab, use_case, batch_id):
    from mlops_lab.steps.ingest import validate

    validate(lab, use_case, batch_id)


@step()
def prepare(lab, use_case, batch_id):
    from mlops_lab.steps.ingest import prepare

    prepare(lab, use_case, batch_id)


@step()
def decide(lab, use_case, batch_id, params: Any = None):
    from mlops_lab.steps.decide import decide

    decision = decide(lab, use_case, batch_id, params["force"], params["reason"])
    if not decision.train:
        raise AirflowSkipException(decision.reason)
    return [candidate.name for candidate in use_case.candidates]


@step(map_index_template="{{ task.op_kwargs['candidate'] }}")
def train(lab, use_case, batch_id, candidate, params: Any = None):
    from mlops_lab.steps.train import train

    return train(lab, use_case, batch_id, candidate, again=params["force"])


# A candidate that fails doesn't keep the others from competing. If `batch_id` were an argument, `land` would be an
# upstream task, and its success alone would satisfy `all_done_min_one_success` when every training failed.
@step(trigger_rule="all_done_min_one_success")
def promote(lab, use_case, ti: Any = None):
    from mlops_lab.steps.promote import promote

    outcome = promote(lab, use_case, ti.xcom_pull(task_ids="land"))
    if not outcome.promoted:
        raise AirflowSkipException(outcome.reason)
    return outcome.version


@step()
def roll_out(lab, use_case, batch_id, version):
    from mlops_lab.steps.notices import told
    from mlops_lab.steps.promote import roll_out

    with told(lab, use_case.name):
        roll_out(lab, use_case, batch_id, version)


# Asked at each batch, so that a question that a killed run didn't pass on is still asked.
@step(task.short_circuit, trigger_rule="none_failed")
def waiting(lab, use_case):
    from mlops_lab.data.waiting import waiting

    asked = waiting(lab.ledger.promotions(use_case.name))
    return asked and f"decision-{asked.sequence}-{asked.decided_at:%Y%m%dT%H%M%S}"


# A broken or held batch, a skipped training and a refused challenger are normal ends of a batch.
@step(task.short_circuit, trigger_rule="none_failed")
def finish(lab, use_case, batch_id):
    from mlops_lab.steps.ingest import finish
    from mlops_lab.steps.notices import told

    if batch_id is None:
        raise AirflowSkipException("there was no new batch")
    with told(lab, use_case.name):
        return finish(lab, use_case, batch_id)


def training_dag(use_case: UseCase) -> DAG:
    """The DAG `<use_case>_training`: from the next batch to a served champion, then the next batch."""
    name = use_case.name

    with DAG(
        use_case.training_dag,
        description=f"{use_case.title}: from the next batch to a served champion",
        # The first run starts at boot. A batch with new rows triggers the next run at once; the schedule does the rest.
        schedule=CronTriggerTimetable(use_case.schedule, timezone="UTC", run_immediately=True),
        start_date=datetime(2024, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        # A service may be away for five minutes; every other error fails a task at once. With one run at a time, a task
        # that hangs would be the end of the loop.
        default_args={
            "retries": 20,
            "retry_delay": duration(seconds=15),
            "execution_timeout": duration(hours=1),
        },
        params={
            "force": Param(False, type="boolean", title="Train now", description=FORCE),
            "reason": Param("requested by hand", type="string", maxLength=1000, description=REASON),
        },
        tags=["training", name],
    ) as dag:
        batch = land(name)
        decided = decide(name, batch)
        trained = train.partial(name=name, batch_id=batch).expand(candidate=decided)
        promoted = promote(name)
        finished = finish(name, batch)
        following = TriggerDagRunOperator(task_id="next", trigger_dag_id=dag.dag_id)
        batch >> validate(name, batch) >> prepare(name, batch) >> decided
        trained >> promoted >> roll_out(name, batch, promoted) >> finished >> following
        if use_case.promotion.between == "ask":
            # It has no successor here: the loop doesn't wait for a person.
            (
                promoted
                >> waiting(name)
                >> TriggerDagRunOperator(
                    task_id="ask",
                    trigger_dag_id=use_case.approval_dag,
                    trigger_run_id="{{ ti.xcom_pull(task_ids='waiting') }}",
                    skip_when_already_exists=True,
                )
            )
    return dag


use_cases, faults = read_use_cases(Settings().use_cases)
for file, fault in faults.items():
    log.error("use case file %s can't be used: %s", file, fault)
for use_case in use_cases.values():
    globals()[use_case.training_dag] = training_dag(use_case)
