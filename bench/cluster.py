"""The housing loop on a three-node cluster: the seconds and the memory of each step, and what Airflow adds to one."""

import argparse
import subprocess
import tempfile
from pathlib import Path

from loop_tables import BATCHES, tables
from scale_page import report

from tests.cluster.cluster import MACHINES, PATIENCE, SMALL, Cluster
from tests.cluster.install import copy_export, install
from tests.k8s.export import rendered, size
from tests.stack.figures import USE_CASE, MemoryWatch, steps, until_the_data_ends

SIZE, FULL = 0.02, 1.0
# A look asks each node's kubelet, which measures less often.
LOOK_SECONDS = 5.0


def main() -> None:
    """Brings up the nodes, installs the lab, runs the loop to the end of the data, and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the course's size, written into docs/scale.md")
    parser.add_argument("--scale", type=float, help="the size of the market: 1 has 895,512 rows")
    chosen = parser.parse_args()
    scale = chosen.scale or (FULL if chosen.full else SIZE)
    if not MACHINES.is_dir() or not Cluster().built:
        raise SystemExit("no cluster here: docs/cluster.md says what it takes")
    cluster = Cluster()
    with tempfile.TemporaryDirectory() as folder:
        overlay = copy_export(Path(folder))
        cases = Path(folder, "use_cases")
        for other in cases.glob("*.py"):
            if other.stem != USE_CASE:
                other.unlink()
        subprocess.run([Path(folder, "k8s-export", "list-files")], check=True)
        try:
            cluster.up()
            install(cluster, overlay, scale)
            lines = _loop(cluster)
        finally:
            cluster.down()
    report("cluster", [f"**{USE_CASE} at scale {scale:g}, `overlays/small`**", "", *lines], full=chosen.full)


def _loop(cluster: Cluster) -> list[str]:
    """The whole loop, until the data ends."""
    waiting = f"--timeout={PATIENCE:.0f}s"
    cluster.lab("rollout", "status", "deployment/airflow-api-server", waiting, timeout=PATIENCE + 60)
    cluster.airflow().wait_for_dag(f"{USE_CASE}_training", timeout=PATIENCE)
    watch = MemoryWatch(cluster.memory, LOOK_SECONDS)
    watch.start()
    until_the_data_ends(cluster)
    watch.stop()
    batches = [[int(line)] for line in cluster.sql(BATCHES).splitlines()]
    return [*tables(steps(cluster), batches, watch, _limits()), "", _killed(cluster)]


def _limits() -> dict[str, int]:
    found = rendered(SMALL)
    return {name: size(found.container(name)["resources"]["limits"]["memory"]) for name in found.workloads}


def _killed(cluster: Cluster) -> str:
    """What the kernel ended for want of memory."""
    states = {
        pod["metadata"]["name"]: [
            (status.get("lastState", {}).get("terminated") or {}).get("reason")
            for status in pod["status"].get("containerStatuses", [])
        ]
        for pod in cluster.get("pods")
    }
    killed = sorted(name for name, reasons in states.items() if "OOMKilled" in reasons)
    return f"Ended for want of memory: {', '.join(killed) or 'no container'}."


if __name__ == "__main__":
    main()
