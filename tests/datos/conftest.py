"""A Data API in this process, on a folder of its own."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from datos.app import create_app
from datos.settings import DatosSettings


@pytest.fixture
def serve(tmp_path):
    """serve(**settings) → a client of a small Data API whose folder is tmp_path / "files"."""
    folder = tmp_path / "files"
    folder.mkdir()

    def client(clock=None, **settings) -> TestClient:
        app = create_app(
            DatosSettings(**({"scale": 0.005, "folder": folder} | settings)),
            **({"clock": clock} if clock else {}),
        )
        return TestClient(app, raise_server_exceptions=False)

    client.folder = folder
    return client


@pytest.fixture
def real_file(real_data):
    """real_file(name) → path of a real data file, or the test is skipped."""

    def find(name: str) -> Path:
        path = real_data / name
        if not path.exists():
            pytest.skip(f"{name} is not here (LAB_TEST_DATA)")
        return path

    return find
