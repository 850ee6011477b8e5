"""The commands that keep the lab print JSON where it is asked for."""

import json

from typer.testing import CliRunner, Result

from mlops_lab.cli import app


def test_what_keeps_the_lab_prints_json_and_its_lines_go_beside_it(
    templates, flats_folder, tmp_path, monkeypatch
):
    def run(*arguments: str) -> Result:
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        return done

    templates.copy_trained(tmp_path / "trained")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "trained"))
    monkeypatch.setenv("LAB_USE_CASES", str(flats_folder))
    found = json.loads(run("migrate").stdout)
    assert found == {"from_revision": None, "done": ["RawData: nothing to change"], "faults": {}}
    signed = run("sign")
    assert json.loads(signed.stdout) == {"flats": {"signed": 0, "left_out": 0}}
    assert "flats: 0 versions signed" in signed.stderr
    made = run("backup", str(tmp_path / "copy"))
    kept = json.loads(made.stdout)
    assert kept["folder"] == str(tmp_path / "copy")
    assert kept["files"] > 0 < kept["bytes"]
    assert "copied to" in made.stderr
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "restored"))
    again = json.loads(run("restore", str(tmp_path / "copy")).stdout)
    assert (again["files"], again["made_at"]) == (kept["files"], kept["made_at"])
    key = json.loads(run("keys", "new", "ann").stdout)
    assert key["key"] not in key["line"]
