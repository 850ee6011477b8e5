"""The images are for amd64 and arm64: what they start from, what they download, and each package of the lock."""

import re
import subprocess

import pytest
import yaml

from mlops_lab.settings import REPOSITORY
from tests.support.processes import environment

DOCKERFILES = [REPOSITORY / "Dockerfile", *REPOSITORY.glob("*/Dockerfile")]
# What uv says when it can't reach the index.
AWAY = ("error sending request", "Failed to fetch", "Network connectivity is disabled", "Could not connect")


def published() -> set[str]:
    """The images of others that the Dockerfiles and the stack start from."""
    found: set[str] = set()
    for file in DOCKERFILES:
        text = file.read_text()
        stages = set(re.findall(r"(?m)^FROM .* AS (\S+)$", text))
        found |= set(re.findall(r"(?m)^FROM (?:--platform=\S+ )?(\S+)", text)) - stages
    stack = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"].values()
    return found | {service["image"] for service in stack if not service["image"].startswith("${LAB_IMAGES")}


def test_the_page_names_the_processors_of_every_published_image():
    page = (
        (REPOSITORY / "docs" / "scale.md").read_text().partition("\n## Processors\n")[2].partition("\n## ")[0]
    )
    named = re.findall(r"(?m)^\| (.+) \| amd64, arm64 \|", page)
    assert set(re.findall(r"`([^`]+)`", " ".join(named))) == published()


def test_no_image_downloads_a_program_for_one_processor():
    for file in DOCKERFILES:
        text = file.read_text()
        # Programs come from Debian, from the locks or from Go modules, each for the image's processor.
        assert not re.search(r"\b(curl|wget) |ADD https?:|x86_64|amd64|aarch64|arm64", text), file
        # What Go compiles is for the image's processor, too.
        for stage in text.split("\nFROM ")[1:]:
            assert "go build" not in stage or "GOARCH=$TARGETARCH" in stage, file


@pytest.mark.process
def test_every_package_of_the_lock_has_a_wheel_for_arm(tmp_path):
    wheels_for("aarch64", tmp_path)


def wheels_for(processor: str, tmp_path) -> None:
    """Asks the package index, as the build of an image does, for the images' Python and Debian."""
    python = re.search(r"FROM python:([0-9.]+)-slim-trixie AS packages", DOCKERFILES[0].read_text())[1]
    # Debian trixie has glibc 2.41.
    options = ["--python-platform", f"{processor}-manylinux_2_40", "--python-version", python]
    command = [
        str(REPOSITORY / ".venv" / "bin" / "uv"),
        "pip",
        "install",
        "--dry-run",
        "--target",
        str(tmp_path),
    ]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", *options, "-r", "requirements.txt"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    if done.returncode and any(text in done.stderr for text in AWAY):
        pytest.skip("the package index can't be reached")
    assert done.returncode == 0, done.stderr
