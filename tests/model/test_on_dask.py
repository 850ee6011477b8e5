"""A candidate on Dask: the same contract, a model as good, the same one each time; and what goes wrong on the way.

The cluster is started as compose starts it, with the key that the lab's script makes.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import psutil
import pytest
from distributed import Client

from mlops_lab import gradient_boosting, on_dask, over_sampled, random_forest, tuned
from mlops_lab.errors import ModelError, UseCaseError
from mlops_lab.local.processes import Supervisor, free_ports
from mlops_lab.model.dask_cluster import Cluster, security
from mlops_lab.model.train import train
from tests.support.cases import small_case
from tests.support.lab_secrets import make_volumes
from tests.support.processes import PATIENCE, environment, server, started

pytestmark = [pytest.mark.journey, pytest.mark.process, pytest.mark.slow]

SMALL = gradient_boosting({"n_estimators": 12})
# Scores and what depends on them; everything else in a contract comes from the rows.
SCORED = {"metrics", "evaluation", "interval", "threshold"}


@dataclass
class Servers:
    """A scheduler, and the workers that a test starts."""

    stack: ExitStack
    folder: Path
    key: Path
    address: str
    numbers: count

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.address, self.key.read_text(), seconds=PATIENCE)

    def worker(self, **variables: str) -> None:
        command = ["-m", "dask", "worker", self.address, *self.tls, "--no-nanny", "--nthreads", "1"]
        command += ["--memory-limit", "0", "--local-directory", str(self.folder), "--host", "127.0.0.1"]
        command += ["--dashboard-address", "127.0.0.1:{port}"]
        worker = server(f"worker-{next(self.numbers)}", command, self.folder, "/health", **variables)
        # Each has its own supervisor: one that is killed doesn't matter to the others.
        started(self.stack.enter_context(_supervisor(self.folder)), worker)

    @property
    def tls(self) -> list[str]:
        return ["--tls-ca-file", str(self.key), "--tls-cert", str(self.key)]

    @contextmanager
    def client(self) -> Iterator[Client]:
        with Client(self.address, security=security(self.key.read_text()), set_as_default=False) as client:
            yield client

    def joined(self, workers: int) -> None:
        with self.client() as client:
            until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == workers)


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    make_volumes(folder)
    return folder / "dask-worker" / "lab_dask_key"


def _supervisor(folder: Path) -> Supervisor:
    return Supervisor(folder / "logs", environment() | {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def alone(key, tmp_path_factory) -> Iterator[Servers]:
    """A scheduler without workers, until `servers` adds them."""
    folder = tmp_path_factory.mktemp("dask")
    with ExitStack() as stack:
        port = free_ports(2)[1]
        servers = Servers(stack, folder, key, f"tls://127.0.0.1:{port}", count())
        command = ["-m", "dask", "scheduler", "--protocol", "tls", *servers.tls, "--host", "127.0.0.1"]
        command += ["--port", str(port), "--dashboard-address", "127.0.0.1:{port}"]
        started(stack.enter_context(_supervisor(folder)), server("scheduler", command, folder, "/health"))
        yield servers


@pytest.fixture(scope="module")
def servers(alone) -> Servers:
    alone.worker()
    alone.worker()
    alone.joined(2)
    return alone


def test_workers_that_never_come_or_have_other_versions_are_named(alone, tmp_path, frames):
    other = tmp_path / "lightgbm-4.0.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Name: lightgbm\nVersion: 4.0.0\n")
    use_case, frame = small_case("regression"), frames["regression"]
    with pytest.raises(ModelError, match=r"no Dask worker joined the scheduler at tls://\S+ within 0.5 s"):
        train(use_case, on_dask(SMALL), frame, cluster=replace(alone.cluster, seconds=0.5))
    with ExitStack() as stack:
        path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
        replace(alone, stack=stack).worker(PYTHONPATH=path)
        alone.joined(1)
        with pytest.raises(ModelError, match=r"has lightgbm 4\.0\.0, not \S+: use the same image for both"):
            train(use_case, on_dask(SMALL), frame, cluster=alone.cluster)
    alone.joined(0)


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_the_workers_learn_what_one_process_learns(task, frames, servers):
    use_case = small_case(task)
    # In order of the target, so that no worker has rows of every class.
    frame = frames[task].sort_values(use_case.target.name, kind="stable")
    candidate = replace(SMALL, log_target=task == "regression")
    local = train(use_case, candidate, frame)
    # The graph is checked against the pipeline there, too.
    trained = train(use_case, on_dask(candidate), frame, cluster=servers.cluster)
    assert trained.engine == {"Dask workers": "2"}
    spread, here = trained.contract.model_dump(), local.contract.model_dump()
    assert {name for name in spread if spread[name] != here[name]} <= SCORED
    metric = use_case.metric
    naive = local.contract.baseline["test"][metric.name]
    gained, as_local = (abs(one.metrics["test"][metric.name] - naive) for one in (trained, local))
    assert gained > 0.85 * as_local


def test_the_same_rows_on_as_many_workers_give_the_same_model(frames, servers):
    candidate = on_dask(tuned(SMALL, {"num_leaves": (4, 16)}, trials=2))
    first, second = (
        train(small_case("regression"), candidate, frames["regression"], cluster=servers.cluster)
        for _ in range(2)
    )
    assert first.model.SerializeToString() == second.model.SerializeToString()
    assert first.contract == second.contract
    assert len(first.trials) == 2


def test_a_worker_that_is_killed_while_it_learns_is_done_without(frames, servers):
    """The others begin again with all rows: here the one that is left, or a new one in the place of the killed one."""
    lines: list[str] = []

    def kill() -> None:
        with servers.client() as client:
            busy = client.processing
            until(lambda: all(any("learn" in key for key in keys) for keys in busy().values()))
            os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
        servers.worker()

    killer = threading.Thread(target=kill)
    killer.start()
    long = on_dask(gradient_boosting({"n_estimators": 2000, "num_leaves": 7}))
    trained = train(
        small_case("regression"), long, frames["regression"], cluster=servers.cluster, progress=lines.append
    )
    killer.join()
    assert trained.engine["Dask workers"] in ("1", "2")
    assert [line for line in lines if "went away" in line and line.endswith(": the others begin again")]
    servers.joined(2)


def test_who_has_not_the_key_gets_no_answer(servers, frames, tmp_path):
    make_volumes(tmp_path)
    stranger = Cluster(servers.address, (tmp_path / "dask-worker" / "lab_dask_key").read_text(), seconds=1)
    with pytest.raises(
        ModelError, match=r"^the Dask scheduler at tls://127.0.0.1:\d+ doesn't answer: [^\n]+$"
    ):
        train(small_case("regression"), on_dask(SMALL), frames["regression"], cluster=stranger)


def test_a_scheduler_that_is_away_is_named(frames, key):
    away = Cluster(f"tls://127.0.0.1:{free_ports(1)[0]}", key.read_text(), seconds=1)
    with pytest.raises(
        ModelError, match=r"^the Dask scheduler at tls://127.0.0.1:\d+ doesn't answer: [^\n]+$"
    ):
        train(small_case("regression"), on_dask(SMALL), frames["regression"], cluster=away)


def test_the_processes_on_this_machine_end_with_an_interrupted_training(frames):
    before = set(psutil.Process().children(recursive=True))
    listening: set[str] = set()

    def interrupt(line: str) -> None:
        if "training rows, " in line:
            mine = [psutil.Process(), *set(psutil.Process().children(recursive=True)) - before]
            listening.update(
                place.laddr.ip for one in mine for place in one.net_connections() if place.status == "LISTEN"
            )
            raise KeyboardInterrupt

    use_case, here = small_case("regression"), Cluster(processes=1)
    with pytest.raises(KeyboardInterrupt):
        train(use_case, on_dask(SMALL), frames["regression"], progress=interrupt, cluster=here)
    assert listening == {"127.0.0.1"}
    left = set(psutil.Process().children(recursive=True)) - before
    # Of multiprocessing: it ends with this process.
    assert not [one for one in left if "resource_tracker" not in " ".join(one.cmdline())]


def test_only_what_can_learn_from_parts_may_be_on_dask():
    for candidate in (
        random_forest(),
        gradient_boosting(encoding="target"),
        over_sampled(gradient_boosting()),
    ):
        with pytest.raises(
            UseCaseError, match=f"{candidate.name} can't learn on Dask: only gradient_boosting"
        ):
            on_dask(candidate)
    with pytest.raises(UseCaseError, match="on_dask_gradient_boosting can't be sampled"):
        over_sampled(on_dask(gradient_boosting()))
