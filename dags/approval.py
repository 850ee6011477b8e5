"""What people decide in Airflow: one rollback DAG for each use case, and one approval DAG where it asks a person.

The training DAG triggers the approval and doesn't wait for it. The task `ask` holds neither a worker nor a slot, and
needs no triggerer: the scheduler continues it with a person's answer in Airflow, or after the time limit.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from pendulum import duration

from mlops_lab.settings import Settings
from mlops_lab.use_case import UseCase, read_use_cases

log = logging.getLogger(__name__)
APPROVE, REJECT = "Approve", "Reject"
WHY = "why you decide so; it is recorded"
BACK_TO = "the version that becomes champion again"
INSTEAD_OF = "the champion that it replaces; with another champion nothing is done. Null: whichever it is"
RETRIES = {"retries": 20, "retry_delay": duration(seconds=15), "execution_timeout": duration(hours=1)}


def step(run):
    """Makes a task `run(name, …)` of a function `run(lab, use_case, …)`; its errors are one line."""

    def opened(name, *arguments):
        from mlops_lab.errors import LabError, ServiceError, first_line, foreign_errors_as_lines
        from mlops_lab.lab import Lab

        try:
            with foreign_errors_as_lines():
                lab = Lab(Settings(), progress=log.info)
                return run(lab, lab.use_case(name), *arguments)
        except (ServiceError, AirflowSkipException):
            raise  # The service can be back at the next try.
        except Exception as error:
            raise AirflowFailException(
                first_line(error, with_class=not isinstance(error, LabError))
            ) from error

    opened.__name__ = run.__name__
    return task(opened)


@step
def question(lab, use_case):
    """What a person is asked: the version, and what is known about it. Skipped when nothing waits."""
    from mlops_lab.data.waiting import waiting

    asked = waiting(lab.ledger.promotions(use_case.name))
    if asked is None:
        raise AirflowSkipException("no decision waits for a person")
    return {"version": asked.challenger, "about": asked.said}


@step
def record(lab, use_case, asked, answer):
    """Carries the answer out. One that comes too late, or second, fails the task with the reason."""
    from mlops_lab.steps.approve import apply_default, approve, reject
    from mlops_lab.steps.challenge import Person

    if (user := answer["responded_by_user"]) is None:  # Airflow's own time limit
        return apply_default(lab, use_case)
    person = Person(user["name"], answer["params_input"].get("reason") or "no reason is given")
    decide = approve if APPROVE in answer["chosen_options"] else reject
    log.info(decide(lab, use_case, asked["version"], person).reason)
    return None


@step
def roll_back(lab, use_case):
    """Does what `lab rollback` does, in the name of the person whom Airflow knows."""
    from mlops_lab.errors import ModelError
    from mlops_lab.steps.challenge import Person
    from mlops_lab.steps.promote import roll_back

    context: Any = get_current_context()
    version, leaving, reason = (context["params"][name] for name in ("version", "champion", "reason"))
    found = lab.ledger.standing(use_case.name)
    if leaving is not None and (found is None or found.champion != leaving):
        now = f"version {found.champion} is" if found and found.champion else "there is none"
        raise ModelError(f"version {leaving} of {use_case.name} isn't the champion any more: {now}")
    person = Person(context["dag_run"].triggering_user_name or "Airflow", reason)
    log.info("version %s is the champion again", roll_back(lab, use_case, version, person))


def rollback_dag(use_case: UseCase) -> DAG:
    """The DAG `<use_case>_rollback`. It runs when a person triggers it."""
    with DAG(
        use_case.rollback_dag,
        description=f"{use_case.title}: a person makes an earlier champion champion again",
        schedule=None,
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        default_args=RETRIES,
        params={
            "version": Param(type="integer", minimum=1, title="Version", description=BACK_TO),
            "champion": Param(
                None, type=["null", "integer"], minimum=1, title="Champion", description=INSTEAD_OF
            ),
            "reason": Param(type="string", minLength=1, maxLength=1000, title="Reason", description=WHY),
        },
        tags=["rollback", use_case.name],
    ) as dag:
        roll_back(use_case.name)
    return dag


def approval_dag(use_case: UseCase) -> DAG:
    """The DAG `<use_case>_approval`."""
    policy, pulled = use_case.promotion, "ti.xcom_pull(task_ids='question')"
    with DAG(
        use_case.approval_dag,
        description=f"{use_case.title}: a person decides on a borderline challenger",
        schedule=None,
        catchup=False,
        is_paused_upon_creation=False,
        # A newer question doesn't wait for an older one.
        max_active_runs=16,
        default_args=RETRIES,
        tags=["approval", use_case.name],
    ) as dag:
        asked = question(use_case.name)
        # Not the `ApprovalOperator`: after a rejection it skips what follows, but a rejection is recorded, too.
        ask = HITLOperator(
            task_id="ask",
            subject=f"{use_case.title}: promote version {{{{ {pulled}['version'] }}}}?",
            body=f"{{{{ {pulled}['about'] }}}}",
            options=[APPROVE, REJECT],
            defaults=APPROVE if policy.ask_default == "promote" else REJECT,
            params={"reason": Param("", type="string", maxLength=1000, title="Reason", description=WHY)},
            # Pendulum's duration doesn't get from a worker to Airflow's server.
            response_timeout=timedelta(hours=policy.ask_hours),
        )
        asked >> ask
        record(use_case.name, asked, ask.output)
    return dag


use_cases, faults = read_use_cases(Settings().use_cases)
for file, fault in faults.items():
    log.error("use case file %s can't be used: %s", file, fault)
for use_case in use_cases.values():
    globals()[use_case.rollback_dag] = rollback_dag(use_case)
    if use_case.promotion.between == "ask":
        globals()[use_case.approval_dag] = approval_dag(use_case)
