"""The stack with the data of release 1.0, as a person finds it after the upgrade to this release.

`release_1.tar.xz` is a backup of that release's stack in the middle of housing's third batch, without its secrets,
which no file in git may have. `facts.json` in it says what that stack answered.
"""

import hashlib
import json
import tarfile
from pathlib import Path

import httpx
import pytest

from tests.stack.stack import PATIENCE, eventually
from tests.support.lab_secrets import make_volumes

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(4 * PATIENCE)]

RELEASE_1 = Path(__file__).parent / "release_1.tar.xz"
# What that release didn't have.
LATER = ("signing-key", "verify-keys")


@pytest.fixture
def backup(tmp_path) -> Path:
    """The folder as `make backup` would have made it: with secrets, and the digest of each file."""
    folder, secrets = tmp_path / "backup", tmp_path / "secrets"
    with tarfile.open(RELEASE_1) as archive:
        archive.extractall(folder, filter="data")
    make_volumes(secrets)
    with tarfile.open(folder / "secrets.tar", "w") as archive:
        for file in (secrets / "store").iterdir():
            if file.name not in LATER:
                archive.add(file, file.name, filter=_of_the_lab)
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return folder


def test_the_data_of_release_1_is_kept_and_the_loop_goes_on(stack, backup, record_property):
    facts = json.loads((backup / "facts.json").read_text())
    stack.down("--volumes")
    stack.make("restore", f"FOLDER={backup}")

    # Its versions have no signature: the worker signs them when it starts.
    eventually(lambda: stack.champion() == facts["champion"], "release 1.0's champion")
    reply = httpx.post(f"{stack.url('inference')}/predict/housing", json=facts["row"], timeout=30).json()
    assert reply["predictions"] == facts["predictions"]
    kept = {table: stack.sql(f"SELECT COUNT(*) FROM {table}")[0][0] for table in facts["rows"]}
    assert all(kept[table] >= rows for table, rows in facts["rows"].items()), kept
    known = facts["prediction_id"]
    assert stack.sql(f"SELECT version FROM RawData.predictions WHERE id = '{known}'") == [
        (facts["champion"],)
    ]
    trace = stack.lab("trace", known)
    assert f"version {facts['champion']}" in trace

    # It was paused for the backup, in the middle of a run.
    stack.airflow().unpause("housing_training")
    batches = facts["rows"]["RawData.batches"]
    more = f"SELECT COUNT(*) FROM RawData.batches WHERE state = 'done' AND id > {batches}"
    eventually(lambda: stack.sql(more)[0][0], "the next batch, landed and done", 2 * PATIENCE)


def _of_the_lab(file: tarfile.TarInfo) -> tarfile.TarInfo:
    file.uid = file.gid = 10001
    return file
