"""A new file in use_cases/ needs no other change: every check here passes, and the cluster gets it by a list."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlops_lab.settings import REPOSITORY
from tests.k8s.export import FOLDERS, rendered, rendered_text, tag
from tests.test_docs import block

# They share a checkout that is made once.
pytestmark = pytest.mark.process

TAG = "0123abc"


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A checkout after a deploy, which sets a tag, to which a person adds the README's example of a use case."""
    tree = tmp_path_factory.mktemp("checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=True)
    for name in names.stdout.split("\0"):
        if name and (REPOSITORY / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, tree / name)
    # The person who runs these tests may have added a use case of their own.
    listed = yaml.safe_load((tree / "use_cases/kustomization.yaml").read_text())["configMapGenerator"][0][
        "files"
    ]
    for path in (tree / "use_cases").glob("*.py"):
        if path.name not in listed:
            path.unlink()
    (tree / ".venv").symlink_to(REPOSITORY / ".venv")
    subprocess.run(["git", "init", "--quiet"], cwd=tree, timeout=30, check=True)
    subprocess.run(["make", "--silent", "k8s-tag", f"TAG={TAG}"], cwd=tree, timeout=30, check=True)
    (tree / "use_cases" / "wine.py").write_text(block("use case"))
    return tree


def test_the_checks_of_the_export_pass_and_say_that_the_cluster_does_not_have_it_yet(tree):
    tests = [f"tests/k8s/test_{name}.py" for name in ("parity", "networks", "base", "helm_values")]
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the cluster does not have wine.py yet" in done.stdout


def test_the_list_of_files_adds_it_to_the_one_config_map_and_changes_nothing_else(tree):
    before = {
        _key(found): found
        for found in yaml.safe_load_all(rendered_text().replace(f":{tag()}\n", f":{TAG}\n"))
    }
    done = subprocess.run(
        [tree / "k8s-export" / "list-files"], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "use_cases/kustomization.yaml: the list of files has changed\n"
    after = {_key(found): found for found in rendered(tree / "k8s-export").objects}
    assert set(after) == set(before)
    assert [key for key in after if after[key] != before[key]] == [("ConfigMap", "use-cases")]
    data = after["ConfigMap", "use-cases"]["data"]
    assert data.pop("wine.py") == block("use case")
    assert data == before["ConfigMap", "use-cases"]["data"]


def test_the_committed_lists_are_in_step(tmp_path):
    """No pattern was changed without `make k8s-files`; use cases alone may run ahead of their list."""
    for folder in FOLDERS:
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    (tmp_path / "k8s-export").mkdir()
    script = shutil.copy2(REPOSITORY / "k8s-export" / "list-files", tmp_path / "k8s-export")
    done = subprocess.run([script], capture_output=True, text=True, timeout=30, check=True)
    changed = set(done.stdout.splitlines())
    assert not changed - {"use_cases/kustomization.yaml: the list of files has changed"}, (
        "run `make k8s-files`"
    )


def _key(found: dict) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]
