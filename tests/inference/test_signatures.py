"""The service serves a version only with a signature by the lab's key."""

from mlops_lab.contract import MODEL_FILE
from mlops_lab.model import signing
from mlops_lab.model.registry import digest
from tests.inference.serving import VERIFY_KEYS, ServingLab, load_error, reload, served_version
from tests.support import models


def _sign(lab: ServingLab, version: int, signature: str) -> None:
    lab.registry.client.set_model_version_tag("houses", str(version), "lab.signature", signature)


def test_only_a_version_that_the_labs_key_signed_is_served(lab):
    first = lab.publish("houses")
    service = lab.serve(inference_poll=3600)
    second = lab.publish("houses", scale=2.0, champion=False)
    good = second.facts.signature
    faults = {
        "of another key": signing.sign(signing.make_key(), "houses", second.digest),
        "of another version": first.facts.signature,
        "of another use case": signing.sign(models.SIGNING_KEY, "clinic", second.digest),
        "altered": ("A" if good[0] != "A" else "B") + good[1:],
        "not base64": "?",
    }
    lab.promote(second)
    for fault, signature in faults.items():
        _sign(lab, 2, signature)
        reload(service)
        assert "its signature isn't by the lab's key" in load_error(service), fault
    lab.registry.client.delete_model_version_tag("houses", "2", "lab.signature")
    reload(service)
    assert "it has no signature" in load_error(service)
    assert "`lab sign`" in load_error(service)
    assert "\n" not in load_error(service)
    assert served_version(service) == 1
    assert service.metric("model_reload_failing", use_case="houses") == 1
    _sign(lab, 2, good)
    reload(service)
    assert served_version(service) == 2
    assert load_error(service) is None


def test_files_registry_and_record_changed_together_are_still_not_served(lab):
    """Whoever can write to all three stores has no key, so the signature fails."""
    lab.publish("houses")
    service = lab.serve(inference_poll=3600)
    second = lab.publish("houses", scale=2.0, champion=False, digest="")
    [folder] = [p.parent for p in lab.home.glob("artifacts/**/" + MODEL_FILE) if second.run_id in str(p)]
    models.build(folder, "houses", scale=3.0)
    lab.registry.client.set_model_version_tag("houses", "2", "lab.digest", digest(folder))
    lab.record(second, digest(folder))
    lab.promote(second)
    reload(service)
    assert "its signature isn't by the lab's key" in load_error(service)
    assert served_version(service) == 1


def test_the_service_checks_by_any_of_its_public_keys_and_needs_one(lab):
    lab.publish("houses")
    newer = signing.public_key(signing.make_key())
    assert served_version(lab.serve(verify_keys=f"{newer}\n{VERIFY_KEYS}")) == 1
    for keys, fault in (
        (newer, "isn't by the lab's key"),
        ("", "isn't by the lab's key"),
        ("none", "isn't by"),
    ):
        service = lab.serve(ready=False, verify_keys=keys)
        assert fault in service.wait(lambda service=service: load_error(service))
        assert service.http.get("/ready").status_code == 503
