"""The script that makes the stack's secrets, run unchanged on a folder."""

import re
import subprocess
from pathlib import Path

from mlops_lab.settings import REPOSITORY

SCRIPT = REPOSITORY / "secrets" / "lab-secrets"
READERS = re.search(r"for reader in (.*?);", (SCRIPT.parent / "Dockerfile").read_text().replace("\\\n", ""))[
    1
].split()


# What calls the prediction API and reads secrets only where that requires API keys.
PAGES = {"streamlit", "gradio", "locust"}


def make_volumes(folder: Path) -> None:
    """The first secrets of a stack, in a folder for each reader."""
    for reader in READERS:
        (folder / reader).mkdir(parents=True)
    run(folder, "init")


def run(volumes: Path, command: str, notify: str = "", **more: str) -> str:
    """What the script prints, its warnings last. more: variables."""
    done = subprocess.run(
        ["sh", str(SCRIPT), command],
        env={"PATH": "/usr/bin:/bin", "LAB_SECRETS_ROOT": str(volumes), "LAB_NOTIFY_URL": notify, **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr
