"""The bill of materials of an image names what the image holds. It asks the package index, as the build does."""

import json
import subprocess

import pytest

from mlops_lab.settings import REPOSITORY
from tests.stack.stack import PATIENCE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(4 * PATIENCE)]

PACKAGES = """
import json, re
from importlib.metadata import distributions
print(json.dumps({re.sub('[-_.]+', '-', d.name.lower()): d.version for d in distributions()}))
"""


def test_the_bill_of_materials_is_what_the_image_holds(stack, tmp_path):
    command = [str(REPOSITORY / "scripts" / "sbom"), str(tmp_path), "exporter"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "exporter.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {component["name"]: component["version"] for component in bill["components"]}
    assert named == json.loads(stack.run_in("exporter", "python", "-c", PACKAGES))
    for component in bill["components"]:
        assert component["externalReferences"][0]["hashes"], component["name"]
