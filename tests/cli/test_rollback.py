"""`lab rollback`: the earlier version is champion again, and the record says who did it and why."""

import json
from getpass import getuser


def test_a_rollback_records_the_person_and_the_reason(command, trained, two):
    champion, challenger = two
    done = command("rollback", "flats", "--to", str(challenger), "--reason", "worse\nwith callers")
    assert done.stdout.startswith(f"version {challenger} is the champion of flats")
    record = trained.ledger.promotions("flats")[-1]
    assert (record.outcome, record.champion, record.decided_by) == ("rolled back", challenger, getuser())
    told = command("why", "flats", str(champion)).stdout.splitlines()[-1]
    assert told.endswith(
        f"rolled back to version {challenger}: rolled back by {getuser()}: worse with callers"
    )

    done = command("rollback", "flats", "--to", str(champion), "--json")
    assert json.loads(done.stdout) == {"champion": champion}
    [version] = json.loads(command("why", "flats", str(challenger), "--json").stdout)["versions"]
    record = version["decisions"][-1]
    assert (record["champion"], record["decided_by"]) == (champion, getuser())
    assert record["reason"] == f"rolled back by {getuser()}"


def test_what_a_command_did_comes_as_json(command, two):
    champion, challenger = two
    begun = json.loads(command("trial", "flats", str(challenger), "--canary", "0.1", "--json").stdout)
    assert begun == {"trial": {"version": challenger, "champion": champion, "share": 0.1}}
    assert json.loads(command("trial", "flats", "--json").stdout) == begun
    forced = ["--force", "--reason", "it was tried", "--json"]
    outcome = json.loads(command("promote", "flats", str(challenger), *forced).stdout)
    assert (outcome["promoted"], outcome["version"]) == (True, challenger)
    assert json.loads(command("trial", "flats", "--json").stdout) == {"trial": None}
    assert json.loads(command("clean", "--dry-run", "--json").stdout) == []
