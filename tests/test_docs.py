"""The README and the docs are right: the example runs as written, and the named paths exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_lab.local.processes import free_ports
from mlops_lab.settings import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
LINK = re.compile(r"\]\((?!http)([^)#]+)[^)]*\)")
CODE = re.compile(r"`((?:[\w.-]+/)+[\w.*-]*|[\w-]+\.(?:py|md|yml|toml|txt))`")


def block(name: str) -> str:
    """The code block after the comment `<!-- test: name -->`."""
    return re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", README, re.DOTALL).group(1)


@pytest.mark.journey
@pytest.mark.process
def test_the_worked_example_runs_as_written(tmp_path):
    example = block("use case")
    assert len(example.splitlines()) <= 80
    folder = tmp_path / "use_cases"
    folder.mkdir()
    (folder / "wine.py").write_text(example)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    env = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
    env |= {"LAB_USE_CASES": str(folder), "LAB_DATA_API_PORT": str(free_ports(1)[0]), "COLUMNS": "200"}
    for name in ("data", "run"):
        done = subprocess.run(
            ["bash", "-c", block(name)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"accuracy ([\d.]+) on test rows; naive baseline ([\d.]+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) > 0.85 > float(found[2])


@pytest.mark.process
@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_worked_example_keeps_to_the_style(command):
    """Else `make lint` fails for whoever adds it to `use_cases/`."""
    ruff = Path(sys.executable).parent / "ruff"
    there = ["--stdin-filename", str(REPOSITORY / "use_cases" / "wine.py"), "-"]
    done = subprocess.run([ruff, *command, *there], input=block("use case"), text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "docs").rglob("*.md"))
)
def test_every_path_that_a_page_names_exists(page):
    check_paths(REPOSITORY / page)


def test_every_path_that_the_readme_names_exists():
    check_paths(REPOSITORY / "README.md")


def check_paths(page: Path) -> None:
    text = page.read_text()
    for link in LINK.findall(text):
        assert (page.parent / link).exists(), f"{page.name}: {link}"
    for path in CODE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        example = path == "use_cases/wine.py"  # the file that the reader writes
        if (
            example
            or path.startswith((".lab", ".venv", "api-artifacts"))
            or "*" in path
            or not _is_ours(path)
        ):
            continue
        assert (REPOSITORY / path).exists() or (page.parent / path).exists(), f"{page.name}: {path}"


def _is_ours(path: str) -> bool:
    """A path whose first folder is one of the tree, or a file of its own."""
    first = path.split("/")[0]
    return (REPOSITORY / first).is_dir() if "/" in path else (REPOSITORY / path).exists()


def test_the_table_of_faults_names_every_file_with_such_a_test():
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    table = page.partition("\n## Faults on the embedded lab\n")[2].partition("\n## ")[0]
    tests = (path for path in (REPOSITORY / "tests").rglob("test_*.py") if path != Path(__file__))
    marked = {str(path.relative_to(REPOSITORY)) for path in tests if "pytest.mark.fault" in path.read_text()}
    assert {path for path in CODE.findall(table) if path.startswith("tests/")} == marked


def test_every_row_of_the_seeds_page_names_a_path_or_a_reason():
    page = REPOSITORY / "docs" / "seeds.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 55
    assert not [row for row in rows if not _has_its_place(row)]


@pytest.mark.parametrize(
    "place",
    [
        "not needed",
        "not needed: no",
        "an open issue",
        "not needed on one box; an open issue",
        "`streamlit/gone.py`",
        "`gone/app.py`",
        "`POST /reload`",
        "",
        "`inference/app.py`, an open issue",
    ],
)
def test_a_row_without_a_path_or_a_reason_is_found(place):
    assert not _has_its_place(f"| area | what they had | {place} |")


def _has_its_place(row: str) -> bool:
    """Whether the last cell names only existing paths, at least one, or has the reason why there is none."""
    place = row.strip("| ").split("|")[-1].strip()
    if "open issue" in place:
        return False
    if place.startswith("not needed: "):
        return len(place.split()) >= 5
    paths = CODE.findall(place)
    return bool(paths) and all((REPOSITORY / path).exists() for path in paths)
