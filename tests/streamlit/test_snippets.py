"""What the page Predict gives to copy, as a person runs it: in a shell and in Python, against the real service."""

import json
import os
import subprocess
import sys

import pytest

from mlops_lab.settings import REPOSITORY
from tests.support import contracts
from tests.support.processes import KEY

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("pages")]
# What a shell, JSON or Python would take for something else than a text.
ODD = """a'b"c $(touch ran) `touch ran` \\ 'é' {x} %s\n#"""


@pytest.fixture
def snippets(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_snippets

    return ui_snippets


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("language", ["curl", "python"])
def test_a_copied_request_predicts_the_row_of_the_form(snippets, inference, language, keyed, tmp_path):
    row = contracts.housing().example | {"city": ODD, "prev_sold_date": None, "new_build": True}
    text = getattr(snippets, language)(f"{inference.url}/predict/housing", row, keyed)
    assert KEY not in text
    program = ["sh", "-c", text] if language == "curl" else [sys.executable, "-c", text]
    done = subprocess.run(
        program, env={"PATH": os.environ["PATH"], "LAB_API_KEY": KEY}, cwd=tmp_path, capture_output=True
    )
    reply = done.stdout.decode()
    if keyed:
        found = json.loads(reply.replace("'", '"')) if language == "python" else json.loads(reply)
        assert found["model"] == {"name": "housing", "version": 1}
        assert len(found["predictions"]) == 1
    else:  # the service of this test requires the key
        assert "requires an API key" in reply or b"401" in done.stderr
    assert list(tmp_path.iterdir()) == []
