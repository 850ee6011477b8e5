"""The Data API's OpenAPI document and its replies agree; its page at `/` and its calls are described."""

import re

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
@pytest.mark.slow
def test_every_reply_is_one_that_the_document_has(case):
    case.call_and_validate()


def test_a_browser_gets_a_page_of_the_data_sets_whose_links_move_no_position(serve):
    (serve.folder / "a<b>&c.csv").write_text("bed\n1\n")
    api = serve()
    page = api.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert "realtor" in page.text
    links = re.findall(r'href="([^"]+)"', page.text)
    assert {"/docs", "/realtor/data.csv"} <= set(links)
    # A file's name is a person's text.
    assert "a&lt;b&gt;" in page.text
    assert "a<b>" not in page.text
    for path in links:
        assert api.get(path).status_code == 200, path
    assert api.get("/realtor/data?group_number=1").json()["batch_number"] == 1
    assert "realtor" in api.get("/").json()["datasets"]


def test_every_call_is_described_by_a_summary_and_a_tag(serve):
    document = serve().get("/openapi.json").json()
    named = {tag["name"] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for call in operations.values():
            assert set(call["tags"]) <= named, path
            assert len(call["summary"]) > 15, path
