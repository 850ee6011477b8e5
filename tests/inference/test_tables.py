"""Predictions for rows as CSV, Arrow streams and Parquet files, and broken and hostile files."""

import io
import resource

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from inference.arrow import ARROW, PARQUET
from inference.inflation import MAX_INFLATED
from mlops_lab.model.predictor import Predictor
from mlops_lab.scoring.scorer import score
from tests.inference.serving import EXAMPLE
from tests.support import models

CSV, JSON = "text/csv", "application/json"
ROWS = models.raw_rows(300, seed=6)
FRAME = pd.DataFrame(ROWS)
TABLE = pa.Table.from_pylist(ROWS)


def arrow(table: pa.Table, **options) -> bytes:
    target = io.BytesIO()
    with pa.ipc.new_stream(target, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table)
    return target.getvalue()


def parquet_file(table: pa.Table, **options) -> bytes:
    target = io.BytesIO()
    parquet.write_table(table, target, **options)
    return target.getvalue()


def with_column(name: str, values: pa.Array) -> pa.Table:
    return TABLE.set_column(TABLE.column_names.index(name), name, values)


DICTIONARIES = with_column("state", TABLE["state"].combine_chunks().dictionary_encode())
# As pandas has them: whole numbers as floats, days as moments, missing numbers as NaN.
OF_PANDAS = pa.Table.from_pandas(
    FRAME.assign(
        rooms=FRAME["rooms"].astype(float),
        area=FRAME["area"].astype(float),
        sold=pd.to_datetime(FRAME["sold"]),
    ),
    preserve_index=False,
)
BODIES = {
    "csv": (CSV, FRAME.to_csv(index=False).encode()),
    "csv with a mark": (CSV, b"\xef\xbb\xbf" + FRAME.to_csv(index=False).encode()),
    "arrow": (ARROW, arrow(TABLE)),
    "arrow in batches": (ARROW, arrow(pa.concat_tables([TABLE[:100], TABLE[100:]]))),
    "arrow with dictionaries": (ARROW, arrow(DICTIONARIES)),
    "arrow of pandas": (ARROW, arrow(OF_PANDAS)),
    "parquet": (PARQUET, parquet_file(TABLE)),
    "parquet, pages of version 2": (
        PARQUET,
        parquet_file(TABLE, compression="zstd", data_page_version="2.0"),
    ),
    "parquet of pandas": (PARQUET, parquet_file(OF_PANDAS, use_dictionary=False, row_group_size=50)),
    "parquet with checksums": (PARQUET, parquet_file(TABLE, write_page_checksum=True, write_page_index=True)),
}


def send(service, kind: str, body: bytes, accept: str = "*/*", use_case: str = "houses"):
    return service.http.post(
        f"/predict/{use_case}", content=body, headers={"content-type": kind, "accept": accept}
    )


@pytest.fixture(scope="module")
def expected(service) -> dict[str, dict]:
    return {name: service.http.post(f"/predict/{name}", json={"rows": ROWS}).json() for name in models.TASKS}


@pytest.mark.parametrize("name", BODIES)
def test_each_form_predicts_what_json_predicts(service, expected, name):
    reply = send(service, *BODIES[name])
    assert reply.status_code == 200, reply.text
    assert reply.json()["predictions"] == expected["houses"]["predictions"]


def test_rows_are_logged_typed_as_those_of_json(lab):
    lab.publish("houses")
    service = lab.serve()
    ids = [send(service, *BODIES[name]).json()["prediction_ids"] for name in BODIES]
    logged = service.wait(
        lambda: len(lab.predictions()) == len(ids) * len(ROWS) and {p.id: p.row for p in lab.predictions()}
    )
    for made in ids:
        assert [logged[one] for one in made] == ROWS


@pytest.mark.parametrize("use_case", models.TASKS)
@pytest.mark.parametrize("accept", [CSV, ARROW, PARQUET, f"text/html, {ARROW};q=0.9, */*"])
def test_the_reply_is_a_table_where_that_is_accepted(service, expected, use_case, accept):
    reply = send(service, *BODIES["arrow"], accept=accept, use_case=use_case)
    kind = reply.headers["content-type"]
    assert kind in accept
    read = {
        CSV: pd.read_csv,
        PARQUET: pd.read_parquet,
        ARROW: lambda body: pa.ipc.open_stream(body).read_pandas(),
    }
    found = read[kind](io.BytesIO(reply.content))
    same = expected[use_case]
    assert found["prediction"].tolist() == same["predictions"]
    assert found["prediction_id"].nunique() == len(ROWS)
    for name in same.get("probabilities", [{}])[0]:
        assert np.allclose(found[f"probability_{name}"], [row[name] for row in same["probabilities"]])


@pytest.mark.parametrize("use_case", models.TASKS)
def test_batch_scoring_answers_as_the_service_does(service, shared, tmp_path, use_case):
    body = FRAME.to_csv(index=False).encode()
    (tmp_path / "rows.csv").write_bytes(body)
    version = shared.registry.by_alias(use_case, "champion")
    predictor = Predictor.load(shared.built / f"{use_case}-1.0")
    score(predictor, version, tmp_path / "rows.csv", tmp_path / "scored.csv")
    found = pd.read_csv(tmp_path / "scored.csv")
    served = pd.read_csv(io.BytesIO(send(service, CSV, body, accept=CSV, use_case=use_case).content))
    assert found.columns.tolist() == ["row", *served.columns, "model_version"]
    same = served.columns.drop("prediction_id")
    pd.testing.assert_frame_equal(found[same], served[same])


@pytest.mark.parametrize("accept", ["", "text/html", "*/*", JSON, f"{JSON}, {CSV}"])
def test_else_it_is_json(service, accept):
    assert send(service, *BODIES["arrow"], accept=accept).headers["content-type"] == JSON


ALL = TABLE.slice(0, 2)
BROKEN = {
    "no stream": (ARROW, b"rows", 400, "no Arrow stream"),
    "nothing": (ARROW, b"", 400, "no Arrow stream"),
    "a stream cut short": (ARROW, arrow(TABLE)[:-300], 400, "no Arrow stream"),
    "a compressed stream": (ARROW, arrow(TABLE, compression="zstd"), 400, "without compression"),
    "a stream without rows": (ARROW, arrow(TABLE[:0]), 422, "at least one row"),
    "no file": (PARQUET, b"rows", 400, "no Parquet file"),
    "a file cut short": (PARQUET, parquet_file(TABLE)[:-300], 400, "no Parquet file"),
    "a file without rows": (PARQUET, parquet_file(TABLE[:0]), 422, "at least one row"),
    "a file with many rows": (
        PARQUET,
        parquet_file(pa.table({"area": np.zeros(50_000)})),
        413,
        "at most 10000",
    ),
    "a stream with many rows": (ARROW, arrow(pa.table({"area": pa.nulls(50_000)})), 413, "at most 10000"),
    "two columns of one name": (
        ARROW,
        arrow(pa.table([[1.0], [2.0]], names=["area", "area"])),
        422,
        "same name",
    ),
    "lists": (ARROW, arrow(with_column("area", pa.array([[1.0]] * 300))), 422, "must be numbers, booleans"),
    "views": (
        ARROW,
        arrow(with_column("kind", TABLE["kind"].cast(pa.string_view()))),
        422,
        "not string_view",
    ),
    "a wrong value": (
        ARROW,
        arrow(with_column("area", pa.array([1.0, -5.0] + [9.0] * 298))),
        422,
        '"row":0,"field":"area","rule":"minimum"',
    ),
    "a column too few": (PARQUET, parquet_file(TABLE.drop_columns(["kind"])), 422, '"field":"kind"'),
    "a column too many": (CSV, FRAME.assign(more=1).to_csv(index=False).encode(), 422, '"field":"more"'),
    "infinity": (ARROW, arrow(with_column("area", pa.array([np.inf] * 300))), 422, "finite"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_are_refused_in_words(service, name):
    kind, body, status, says = BROKEN[name]
    reply = send(service, kind, body)
    assert (reply.status_code, says in reply.text) == (status, True), reply.text[:500]


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("compression", ["zstd", "gzip", "brotli", "lz4"])
def test_a_small_file_that_becomes_large_is_refused_before_it_is_read(service, compression):
    texts = pa.array([bytes([i % 26 + 65]).decode() * (2 * MAX_INFLATED // 40) for i in range(40)])
    body = parquet_file(pa.table({"kind": texts}), compression=compression, use_dictionary=False)
    del texts
    assert len(body) < 8 * 2**20
    before = peak()
    reply = send(service, PARQUET, body)
    assert (reply.status_code, "too large when it is not compressed" in reply.text) == (413, True), reply.text
    assert peak() - before < 30 * 2**10


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_a_text_that_every_row_has_is_not_copied(service, kind):
    text = "x" * 2**20
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 9000, pa.int32()), pa.array([text]))
    table = pa.table({"kind": column})
    # Without the stored schema nothing says that the column was a dictionary.
    body = arrow(table) if kind == ARROW else parquet_file(table, store_schema=False)
    before = peak()
    assert send(service, kind, body).status_code == 422
    assert peak() - before < 100 * 2**10


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from([ARROW, PARQUET]),
    at=st.floats(0, 1, exclude_max=True),
    new=st.binary(min_size=1, max_size=4),
)
def test_no_damaged_table_is_an_error_of_the_server(service, kind, at, new):
    body = bytearray(arrow(DICTIONARIES[:20]) if kind == ARROW else parquet_file(TABLE[:20]))
    position = int(at * len(body))
    body[position : position + len(new)] = new
    reply = send(service, kind, bytes(body))
    assert reply.status_code in (200, 400, 413, 422), reply.text


def test_example_alone(service):
    reply = send(service, CSV, pd.DataFrame([EXAMPLE]).to_csv(index=False).encode())
    assert reply.json()["predictions"] == service.predict()["predictions"]
