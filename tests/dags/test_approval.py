"""What people decide in Airflow: a borderline challenger, and a rollback (real Airflow, no scheduler)."""

import re

import pytest

from tests.support.data_api import END
from tests.support.flats import FLATS

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("dags")]

RUN = """
import json, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
os.environ["LAB_HOME"] = sys.argv[2]
import approval, training
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.models import DagRun
from airflow.sdk.execution_time.comms import _RequestFrame
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from mlops_lab.lab import Lab
from mlops_lab.settings import Settings
from mlops_lab.steps.promote import promote_by_hand, roll_back
from sqlalchemy import select

lab = Lab(Settings(), progress=lambda _: None)
use_case = lab.use_case("flats")
better, worse = sorted(lab.registry.versions("flats"), key=lambda version: version.facts.test)
if lab.ledger.standing("flats").champion != worse.version:
    roll_back(lab, use_case, worse.version)

def decision():
    row = lab.ledger.promotions("flats")[-1]
    return {name: str(getattr(row, name)) for name in ("outcome", "challenger", "reason", "decided_by", "said")}

def ran(dag, **options):
    run = dag.test(**options)
    return {"state": str(run.state), "tasks": {ti.task_id: str(ti.state) for ti in run.get_task_instances()}}

asked = []

def answer(choice):
    # As Airflow's page does, once the task waits.
    while True:
        with create_session() as session:
            ti = session.scalar(select(TaskInstance).where(TaskInstance.state == "awaiting_input"))
            if ti:
                detail = session.scalar(select(HITLDetail).where(HITLDetail.ti_id == ti.id))
                asked.append([detail.subject, detail.body, detail.defaults])
                payload = UpdateHITLDetailPayload(chosen_options=[choice], params_input={"reason": "it is newer"})
                user = SimpleAuthManagerUser(username="ana", role="admin")
                return update_hitl_detail(ti.dag_id, ti.run_id, ti.task_id, payload, user, session)
        time.sleep(0.1)

def answered(choice):
    thread = threading.Thread(target=answer, args=[choice])
    thread.start()
    run = ran(approval.flats_approval)
    thread.join()
    return run

promote_by_hand(lab, use_case, better.version)
waited = decision()
found = {"loop": ran(training.flats_training)}
with create_session() as session:
    runs = select(DagRun.run_id).where(DagRun.dag_id == "flats_approval")
    found["triggered"] = list(session.scalars(runs))
found["approved"] = answered("Approve")
# A real worker sends the time limit to Airflow's server; here no message is packed.
_RequestFrame(0, {"timeout": approval.flats_approval.get_task("ask").response_timeout}).as_bytes()

def called(task, *arguments):
    try:
        approval.flats_approval.get_task(task).python_callable("flats", *arguments)
    except Exception as reason:
        return [type(reason).__name__, str(reason)]

found["nothing"] = called("question")
late = {"responded_by_user": {"id": "2", "name": "leo"}, "chosen_options": ["Reject"], "params_input": {}}
found["late"] = called("record", {"version": better.version}, late)
found["over"] = called("record", {"version": better.version}, late | {"responded_by_user": None})
found["asked"] = asked
found["decisions"] = [waited, decision()]
back = {"version": worse.version, "champion": better.version, "reason": "callers complain"}
found["back"] = [ran(approval.flats_rollback, run_conf=back), decision(), lab.ledger.standing("flats").champion]
context = {"params": back, "dag_run": DagRun(triggering_user_name="leo")}
call = approval.flats_rollback.get_task("roll_back").python_callable
call.__closure__[0].cell_contents.__globals__["get_current_context"] = lambda: context
try:
    call("flats")
except Exception as reason:
    found["again"] = [type(reason).__name__, str(reason)]
print("RESULT" + json.dumps(found))
"""


@pytest.mark.timeout(600)
def test_a_person_answers_in_airflow_and_the_loop_does_not_wait(in_airflow, templates, course, tmp_path):
    folder, home = tmp_path / "use_cases", tmp_path / "trained"
    folder.mkdir()
    asks = FLATS.replace("margin=0, sure=0", 'margin=0, sure=1, very_sure=None, between="ask"')
    (folder / "flats.py").write_text(asks)
    templates.copy_trained(home)
    course.will_answer(END)
    found = in_airflow(RUN, str(home), LAB_USE_CASES=str(folder))
    waited, decided = found["decisions"]
    version = waited["challenger"]

    # The data has ended, and what an earlier batch left is asked all the same.
    assert found["loop"]["state"] == "success"
    assert {task for task, state in found["loop"]["tasks"].items() if state == "success"} == {
        "waiting",
        "ask",
    }
    [run] = found["triggered"]
    assert re.fullmatch(r"decision-\d-\d{8}T\d{6}", run)

    assert found["asked"] == [[f"Rent of a flat: promote version {version}?", waited["said"], ["Reject"]]]
    assert found["approved"]["state"] == "success"
    assert set(found["approved"]["tasks"].values()) == {"success"}
    assert (decided["outcome"], decided["decided_by"]) == ("promoted", "ana")
    assert decided["reason"] == f"approved by ana: it is newer; the comparison: {waited['reason']}"

    assert found["nothing"] == ["AirflowSkipException", "no decision waits for a person"]
    line = f"version {version} of flats doesn't wait for a decision: it is the champion"
    assert found["late"] == ["AirflowFailException", line]
    worse = found["back"][2]
    assert found["back"] == [{"state": "success", "tasks": {"roll_back": "success"}}, found["back"][1], worse]
    assert (worse, found["back"][1]["outcome"]) == (({1, 2} - {int(version)}).pop(), "rolled back")
    # Airflow says who; `dag.test` is nobody's.
    assert (found["back"][1]["decided_by"], found["back"][1]["reason"]) == (
        "dag_test", "rolled back by dag_test: callers complain",
    )  # fmt: skip
    line = f"version {version} of flats isn't the champion any more: version {worse} is"
    assert found["again"] == ["AirflowFailException", line]
    assert found["over"] is None, "nobody's answer is the time limit's, which the record has"
