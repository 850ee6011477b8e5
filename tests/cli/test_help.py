"""What `lab --help` and the help of each command say, and what the shell completes."""

from importlib.metadata import version

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from mlops_lab.cli import PANELS, app

GROUPS = ("data", "keys")
# It shows its progress and has no result.
WITHOUT_JSON = (["demo"],)
IN_PANELS = [name for names in PANELS.values() for name in names]


def printed(*arguments: str, status: int = 0, env: dict[str, str] | None = None) -> str:
    done = CliRunner().invoke(app, arguments, prog_name="lab", env={"COLUMNS": "80", **(env or {})})
    assert done.exit_code == status, done.output
    return done.output


def commands() -> list[list[str]]:
    """The arguments that name each command."""
    top = get_command(app).commands
    inner = [[group, name] for group in GROUPS for name in top[group].commands]
    return [[name] for name in top if name not in GROUPS] + inner


def test_the_help_says_what_lab_is_groups_every_command_and_names_the_exit_statuses():
    names = list(get_command(app).commands)
    assert [name for name in names if name not in IN_PANELS] == [], (
        "name its panel in mlops_lab/cli/__init__.py"
    )
    assert len(IN_PANELS) == len(set(IN_PANELS))
    shown = printed("--help")
    for word in (
        "lab new houses.csv --target price",
        "─ Begin ",
        "─ Keep ",
        "130 stopped",
        "--install-completion",
    ):
        assert word in shown
    places = [shown.index(f"│ {name} ") for name in IN_PANELS if name in names and name not in GROUPS]
    assert places == sorted(places)
    assert "130 stopped" in printed(status=2)  # without arguments, as other commands do
    assert printed("--version") == f"lab {version('mlops-lab')}\n"


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_the_help_of_a_command_has_an_example_and_no_value_for_a_flag(command):
    shown = printed(*command, "--help")
    assert "Example: " in shown
    assert f"lab {' '.join(command)}" in shown.partition("Example: ")[2]
    assert "<bool>" not in shown
    assert ("--json" in shown) == (command not in WITHOUT_JSON)
    assert "{" not in shown.partition("Usage:")[2].partition("\n")[0]


def test_the_shell_completes_the_names_of_use_cases(flats_folder, tmp_path):
    asked = {"_LAB_COMPLETE": "complete_bash", "COMP_WORDS": "lab status fl", "COMP_CWORD": "2"}
    assert printed(env=asked | {"LAB_USE_CASES": str(flats_folder)}).split() == ["flats"]
    assert printed(env=asked | {"LAB_USE_CASES": str(tmp_path / "nothing")}).strip() == ""
    assert printed(env=asked | {"LAB_DATA_API_TIMEOUT": "soon"}).strip() == ""
