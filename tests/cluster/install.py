"""The lab onto three machines, as docs/cluster.md says: labels, images, secrets, and the export."""

import shutil
import subprocess
from pathlib import Path

from mlops_lab.settings import REPOSITORY
from tests.cluster.cluster import ROLES, SMALL, Cluster
from tests.k8s.export import FOLDERS, rendered, services, tag


def install(cluster: Cluster, folder: Path, scale: float) -> None:
    """Applies the export in this folder, unless the lab is there already. scale: the size of the market."""
    if cluster.has_the_lab:
        return
    cluster.label()
    off = {name for name, found in rendered(SMALL).workloads.items() if found["spec"].get("replicas") == 0}
    build_and_load(cluster, *sorted(set(rendered(SMALL).workloads) - off))
    cluster.secrets("init")
    cluster.apply(folder)
    # An operator's setting.
    cluster.lab("set", "env", "deployment/data-api", f"LAB_DATOS_SCALE={scale:g}")


def copy_export(to: Path) -> Path:
    """Copies the export and what it makes ConfigMaps of, to be changed; returns the overlay `small` of the copy."""
    for folder in ("k8s-export", *FOLDERS):
        shutil.copytree(REPOSITORY / folder, to / folder)
    return to / SMALL.relative_to(REPOSITORY)


def build_and_load(cluster: Cluster, *names: str) -> None:
    """The images of these services, each onto the nodes where its pods may run."""
    tags = {"LAB_IMAGES": "localhost:32000/mlops-lab", "LAB_TAG": tag()}
    command = ["docker", "compose", "build", *(name for name in names if "build" in services()[name])]
    subprocess.run(command, cwd=REPOSITORY, env=cluster._environment | tags, timeout=3600, check=True)
    nodes: dict[str, set[str]] = {}
    for name in names:
        pod = rendered(SMALL).pod(name)
        required = pod["affinity"]["nodeAffinity"].get("requiredDuringSchedulingIgnoredDuringExecution")
        roles = (
            required["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] if required else ROLES.values()
        )
        image = pod["containers"][0]["image"]
        nodes.setdefault(image, set()).update(node for node, role in ROLES.items() if role in roles)
    for image, where in sorted(nodes.items()):
        cluster.load(image, *sorted(where))
