"""Which versions are loaded: those whose files are whole, recorded in the lab's database and signed by its key."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from mlops_lab.data.tables import Model
from mlops_lab.errors import ModelError, SignatureError
from mlops_lab.loop import run_batch
from mlops_lab.model import signing
from mlops_lab.model.registry import CHAMPION, digest
from mlops_lab.settings import SettingsError
from mlops_lab.steps.attempts import ATTEMPTS
from mlops_lab.steps.sign import sign
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")


def test_a_model_that_was_changed_after_registration_is_not_loaded(trained, use_case):
    champion = trained.registry.by_alias("flats", CHAMPION)
    client = trained.registry.client
    graph = Path(client.get_run(champion.run_id).info.artifact_uri) / "model" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"!")
    for cached in trained.cache.rglob("model.onnx"):
        cached.unlink()
    with pytest.raises(ModelError, match="changed after registration"):
        trained.predictor(champion)
    # When the files and the registry's digest are changed, the lab's own record still differs.
    client.set_model_version_tag("flats", str(champion.version), "lab.digest", digest(graph.parent))
    with pytest.raises(ModelError, match="the lab's database"):
        trained.predictor(trained.registry.by_alias("flats", CHAMPION))


def test_a_version_without_a_record_is_not_loaded_unless_allowed(trained):
    champion = trained.registry.by_alias("flats", CHAMPION)
    with trained.store.raw.begin() as db:
        db.execute(delete(Model))
    with pytest.raises(ModelError, match="LAB_ALLOW_UNRECORDED=1"):
        trained.predictor(champion)
    trained.settings = trained.settings.model_copy(update={"allow_unrecorded": True})
    trained.predictor(champion).check_example()


def test_a_version_without_signature_is_loaded_after_lab_sign(trained):
    """The versions of a release that signed none, and those of an earlier key."""
    champion, client = trained.registry.by_alias("flats", CHAMPION), trained.registry.client
    keys = trained.settings.home / "secrets"
    assert stat.S_IMODE((keys / "signing_key").stat().st_mode) == 0o600
    trained.predictor(champion).check_example()
    client.delete_model_version_tag("flats", str(champion.version), "lab.signature")
    with pytest.raises(ModelError, match="has no signature, so it is not loaded; `lab sign`"):
        trained.predictor(trained.champion("flats"))
    said = []
    trained.progress = said.append
    sign(trained)
    trained.predictor(trained.champion("flats")).check_example()
    (keys / "signing_key").unlink()
    # Another version's record differs from its digest: it isn't signed.
    other = next(v for v in trained.registry.versions("flats") if v.version != champion.version)
    with trained.store.raw.begin() as db:
        db.execute(update(Model).where(Model.version == other.version).values(digest="0" * 64))
    sign(trained)
    trained.predictor(trained.champion("flats")).check_example()
    left = "1 left out, because the lab's database has no record of it or of another digest"
    assert said == ["flats: 1 version signed", f"flats: 1 version signed; {left}"]
    sign(trained)
    assert said[-1] == f"flats: 0 versions signed; {left}"


def test_the_first_run_after_an_upgrade_signs_what_was_registered_before(trained, use_case, course):
    """An embedded lab of a release that signed nothing: it has no key."""
    course.will_answer(batch(2, flats(600)), END)
    for version in trained.registry.versions("flats"):
        trained.registry.client.delete_model_version_tag("flats", str(version.version), "lab.signature")
    for file in ("signing_key", "verify_keys"):
        (trained.settings.home / "secrets" / file).unlink()
    assert run_batch(trained, use_case).reason
    trained.predictor(trained.champion("flats")).check_example()
    assert all(version.facts.signature for version in trained.registry.versions("flats"))


@pytest.mark.fault
def test_a_batch_waits_for_the_signature_of_the_champion(trained, use_case, course):
    course.will_answer(batch(2, flats(600)), END)
    champion = trained.champion("flats")
    trained.registry.client.delete_model_version_tag("flats", str(champion.version), "lab.signature")
    for _ in range(ATTEMPTS + 1):
        with pytest.raises(SignatureError, match="has no signature"):
            run_batch(trained, use_case)
    # The named checks compare its rows with the champion's.
    assert [entry.state for entry in trained.ledger.batches("flats")] == ["done", "stored"]
    sign(trained)
    assert run_batch(trained, use_case).reason
    assert [entry.state for entry in trained.ledger.batches("flats")] == ["done", "done"]


def test_only_public_keys_cannot_sign(trained):
    public = trained.settings.model_copy(update={"verify_keys": signing.public_key(signing.make_key())})
    before = trained.champion("flats").facts.signature
    with pytest.raises(
        SettingsError, match="can be checked here and not signed; in the stack, airflow-worker signs"
    ):
        sign(replace(trained, settings=public))
    assert trained.champion("flats").facts.signature == before
