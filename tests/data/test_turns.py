"""One loop at a time works on a use case; a process that ends in any way doesn't block the next one."""

import os
import signal
import time

import pytest

from mlops_lab.data.turns import BusyError, Turns


@pytest.mark.fault
def test_a_second_process_is_told_who_works_and_a_killed_one_blocks_nobody(tmp_path):
    turns, reading, writing = Turns(tmp_path), *os.pipe()
    child = os.fork()
    if not child:
        with turns.hold("flats"):
            os.write(writing, b"!")
            time.sleep(60)
        os._exit(0)
    try:
        os.read(reading, 1)
        with pytest.raises(BusyError, match=rf"another process \(pid {child}\) works on flats; wait"):
            turns.hold("flats").__enter__()
        with turns.hold("houses"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with turns.hold("flats"), turns.hold("flats"):
        pass


def test_the_tasks_of_a_run_work_together_and_no_command_beside_them(tmp_path):
    one, two, command = Turns(tmp_path), Turns(tmp_path), Turns(tmp_path).hold("flats")
    with (
        one.hold("flats", shared=True),
        two.hold("flats", shared=True),
        pytest.raises(BusyError, match=rf"Airflow, pid {os.getpid()}"),
    ):
        command.__enter__()
    with one.hold("flats"), pytest.raises(BusyError):
        two.hold("flats", shared=True).__enter__()
