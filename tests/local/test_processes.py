"""The supervisor: processes start with their own environment, are waited for, and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest

from mlops_lab.local import processes
from mlops_lab.local.processes import Process, ProcessError, Supervisor, check_ports, free_ports, healthy

pytestmark = pytest.mark.process

CHILD_OF_ITS_OWN_GROUP = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
PARENT = """
import sys, time
from pathlib import Path
from mlops_lab.local.processes import Process, Supervisor
from mlops_lab.local.signals import ended_by_signal
with ended_by_signal(), Supervisor(Path(sys.argv[1])) as supervisor:
    children = [supervisor.start(Process(name, ["sleep", "600"])) for name in ("one", "two", "three")]
    print(*(child.pid for child in children), flush=True)
    time.sleep(600)
"""

LOST = """
import os, signal, sys
from pathlib import Path
from mlops_lab.local import signals
from mlops_lab.local.processes import Supervisor

class Dropped:
    def __del__(self):  # Python drops what is raised here, as in a callback of the garbage collector
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigpending()

with signals.ended_by_signal():
    Dropped()
    print("on", flush=True)
    {second}
    try:
        Supervisor(Path(sys.argv[1])).check()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.fixture
def supervisor(tmp_path):
    with Supervisor(tmp_path / "logs") as supervisor:
        yield supervisor


def python(name: str, code: str, **fields) -> Process:
    return Process(name, [sys.executable, "-c", code], **fields)


def server(**fields) -> Process:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return Process(
        "Web", command, url=f"http://127.0.0.1:{port}", health="/", port_setting="WEB_PORT", **fields
    )


def until(holds, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "time is up"
        time.sleep(0.05)


def test_a_process_is_waited_for_and_stopped(supervisor):
    web = server()
    handle = supervisor.start(web)
    supervisor.wait(web, 30)
    assert healthy(web)
    supervisor.stop(web)
    assert handle.poll() == -signal.SIGTERM
    assert not healthy(web)
    supervisor.check()


def test_a_process_has_its_own_environment_and_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    show = "import os; print(os.getcwd(), os.environ.get('HOME'), os.environ['A'], os.environ['B'])"
    with Supervisor(tmp_path, environment={"A": "base", "B": "base"}) as supervisor:
        supervisor.run(python("Show", show, env={"B": "own"}, cwd=folder))
        assert supervisor.log("Show").read_text().split() == [str(folder), "None", "base", "own"]


def test_a_failure_names_the_log_and_carries_the_end_of_this_run_alone(supervisor):
    supervisor.run(python("One Shot", "print('the first run')"))
    with pytest.raises(ProcessError) as raised:
        supervisor.run(python("One Shot", "print('no more disk'); raise SystemExit(3)"))
    assert str(raised.value) == f"One Shot ended with status 3; see {supervisor.log('One Shot')}"
    assert raised.value.__notes__ == ["no more disk"]


def test_a_process_that_ends_while_it_is_waited_for_is_an_error(supervisor):
    dead = python("Dead", "raise SystemExit(2)", url="http://127.0.0.1:9")
    supervisor.start(dead)
    with pytest.raises(ProcessError, match="Dead ended with status 2"):
        supervisor.wait(dead, 30)


def test_a_process_that_ends_while_another_one_runs_to_its_end_is_an_error(supervisor):
    supervisor.start(python("Dead", "raise SystemExit(2)"))
    with pytest.raises(ProcessError, match="Dead ended with status 2"):
        supervisor.run(python("Long", "import time; time.sleep(600)"), 30)


def test_waiting_is_bounded(supervisor):
    silent = python("Silent", "import time; time.sleep(600)", url=f"http://127.0.0.1:{free_ports(1)[0]}")
    supervisor.start(silent)
    with pytest.raises(ProcessError, match=r"Silent isn't healthy after 0\.3 s"):
        supervisor.wait(silent, 0.3)
    with pytest.raises(ProcessError, match=r"Slow took over 0\.3 s"):
        supervisor.run(replace(silent, name="Slow"), 0.3)


def test_a_second_process_of_the_same_name_is_refused_while_the_first_runs(supervisor):
    sleeper = python("Sleeper", "import time; time.sleep(600)")
    first = supervisor.start(sleeper)
    with pytest.raises(ProcessError, match="Sleeper runs already"):
        supervisor.start(sleeper)
    first.kill()
    first.wait(30)
    assert supervisor.start(sleeper).pid != first.pid


def test_children_that_left_the_group_end_too(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(python("Parent", CHILD_OF_ITS_OWN_GROUP))
        until(lambda: supervisor.log("Parent").read_text().endswith("\n"))
        child = int(supervisor.log("Parent").read_text())
        assert psutil.pid_exists(child)
    until(lambda: not psutil.pid_exists(child))


def test_a_process_that_ignores_sigterm_is_killed(supervisor, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.2)
    deaf = python("Deaf", DEAF)
    handle = supervisor.start(deaf)
    until(lambda: supervisor.log("Deaf").read_text())
    supervisor.stop(deaf)
    assert handle.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_parent_leaves_no_process(tmp_path, number):
    command = [sys.executable, "-c", PARENT, str(tmp_path / "logs")]
    parent = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # These tests may run under `nohup`, and then the parent would ignore SIGHUP.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 3
    for _ in range(2):  # the second signal changes nothing
        parent.send_signal(number)
    _, errors = parent.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert not [pid for pid in children if psutil.pid_exists(pid)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't tell a process of its parent's end")
def test_a_parent_that_is_killed_leaves_no_process(tmp_path):
    command = [sys.executable, "-c", PARENT, str(tmp_path / "logs")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    children = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate(timeout=30)
    until(lambda: not [pid for pid in children if psutil.pid_exists(pid)])


def test_a_signal_whose_exception_is_lost_ends_the_next_check_and_a_second_one_ends_at_once(tmp_path):
    found = []
    for second in ("", "signals.DOUBLE = 0; os.kill(os.getpid(), signal.SIGINT)"):
        command = [sys.executable, "-c", LOST.format(second=second), str(tmp_path / "logs")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        found.append((done.stdout.split(), done.returncode))
    # The block of the first one went on, and was interrupted again at its next line of progress.
    assert found == [(["on", "interrupted"], -signal.SIGINT), (["on"], 130)]


def test_a_lost_interrupt_ends_a_wait_for_a_service_too(tmp_path):
    wait = "import socket; one, other = socket.socketpair(); one.recv(1)"
    command = [sys.executable, "-c", LOST.format(second=wait), str(tmp_path / "logs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.returncode) == (["on"], -signal.SIGINT)


def test_a_closed_terminal_ends_nothing_under_nohup():
    code = "import os, signal; from mlops_lab.local.signals import ended_by_signal\n"
    code += "with ended_by_signal(): os.kill(os.getpid(), signal.SIGHUP); print('on')"
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip() == "on"


def test_it_works_outside_the_main_thread(tmp_path):
    statuses = []

    def run() -> None:
        with Supervisor(tmp_path) as supervisor:
            supervisor.run(python("Nothing", "pass"))
            statuses.append("ended")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert statuses == ["ended"]


def test_a_taken_port_is_named_with_its_setting():
    web = server()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", web.port))
        taken.listen()
        with pytest.raises(ProcessError) as raised:
            check_ports([web])
    holder = f"process {os.getpid()} ({psutil.Process().name()})"
    assert str(raised.value) == (
        f"port {web.port} (Web) is taken by {holder}; stop what listens there or set WEB_PORT"
    )
    check_ports([web])


def test_free_ports_differ_and_no_outgoing_connection_takes_one():
    found = free_ports(20)
    assert len(set(found)) == 20
    # Where Linux begins, by default, to choose the ports of outgoing connections.
    assert max(found) < 32768
