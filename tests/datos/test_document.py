"""The OpenAPI document of the Data API and its replies agree."""

import pytest
import schemathesis

from datos.app import create_app
from datos.settings import DatosSettings
from tests.support import openapi


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    # More batches than the calls: the end of the data isn't a reply to a wrong request.
    (folder / "realtor.csv").write_text("bed,price\n" + "3,250000\n" * 100)
    (folder / "datasets.toml").write_text("[realtor]\nrows_per_batch = 1\n")
    return openapi.load(create_app(DatosSettings(scale=0.005, folder=folder)))


@schemathesis.pytest.from_fixture("document").parametrize()
@openapi.few
def test_every_reply_is_one_that_the_document_has(case):
    case.call_and_validate()
