"""Signs the versions that an earlier release registered without a signature, or that an earlier key signed."""

from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.model import signing
from mlops_lab.model.tags import VersionTags


def sign_earlier(lab: Lab) -> None:
    """Before a lab has a key, signs what it has: an earlier release, which signed nothing, registered it."""
    if not signing.has_signing_key(lab.settings):
        sign(lab)


def sign(lab: Lab) -> dict[str, dict[str, int]]:
    """Signs every version whose digest is the one that the lab's own database recorded; reports each use case.

    A version without a record, or with another digest than the recorded one, stays as it is. Returns use case → numbers
    of versions: signed, left_out.
    """
    lab.store.create_tables()
    key = signing.signing_key(lab.settings)
    own = signing.public_key(key)
    counts = {}
    for use_case in lab.registry.use_cases():
        recorded = lab.ledger.models(use_case)
        signed = left = 0
        for version in lab.registry.versions(use_case):
            if signing.is_signed(own, use_case, version.digest, version.facts.signature):
                continue
            record = recorded.get(version.version)
            if record is None or not record.digest or record.digest != version.digest:
                left += 1
                continue
            lab.registry.tag(version, VersionTags(signature=signing.sign(key, use_case, version.digest)))
            signed += 1
        rest = f"; {left:,} left out, because the lab's database has no record of it or of another digest"
        lab.progress(f"{use_case}: {counted(signed, 'version')} signed" + (rest if left else ""))
        counts[use_case] = {"signed": signed, "left_out": left}
    return counts
