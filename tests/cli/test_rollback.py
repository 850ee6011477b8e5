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

    command("rollback", "flats", "--to", str(champion))
    [version] = json.loads(command("why", "flats", str(challenger), "--json").stdout)["versions"]
    record = version["decisions"][-1]
    assert (record["champion"], record["decided_by"]) == (champion, getuser())
    assert record["reason"] == f"rolled back by {getuser()}"
