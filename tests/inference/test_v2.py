"""The Open Inference Protocol and MLflow's scoring protocol, with published clients and with broken requests."""

import json

import numpy as np
import orjson
import pandas as pd
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from tritonclient.utils import InferenceServerException

from inference.tensors import BINARY, HEADER_LENGTH, TYPES
from tests.inference.serving import EXAMPLE, ServedByProcess
from tests.support import models

ROWS = models.raw_rows(7, seed=5)
DATATYPES = {
    "area": "FP64",
    "rooms": "INT64",
    "kind": "BYTES",
    "state": "BYTES",
    "garden": "BOOL",
    "sold": "BYTES",
}


@pytest.fixture(scope="module")
def process(shared) -> ServedByProcess:
    return shared.start()


def expected(service, use_case: str) -> dict:
    reply = service.http.post(f"/predict/{use_case}", json={"rows": ROWS})
    assert reply.status_code == 200, reply.text
    return reply.json()


def tensors(rows: list[dict]) -> list[dict]:
    return [
        {"name": name, "datatype": datatype, "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name, datatype in DATATYPES.items()
    ]


def infer(service, inputs: list[dict], use_case: str = "houses", **more):
    return service.http.post(f"/v2/models/{use_case}/infer", json={"inputs": inputs, **more})


def output(reply: dict, name: str) -> dict:
    return next(found for found in reply["outputs"] if found["name"] == name)


@pytest.mark.process
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("use_case", models.TASKS)
def test_a_published_client_predicts_what_predict_predicts(process, use_case, binary):
    client = triton.InferenceServerClient(f"127.0.0.1:{process.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(use_case)
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.is_model_ready(use_case, "1")
    assert not client.is_model_ready(use_case, "2")
    inputs = []
    for described in client.get_model_metadata(use_case, "1")["inputs"]:
        name, datatype = described["name"], described["datatype"]
        assert datatype == DATATYPES[name]
        values = [row[name] for row in ROWS]
        kinds = {"FP64": np.float64, "INT64": np.int64, "BOOL": bool, "BYTES": object}
        array = np.array(values, dtype=kinds[datatype])
        tensor = triton.InferInput(name, array.shape, datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("prediction", "prediction_id")
    ]
    found = client.infer(use_case, inputs, request_id="mine", outputs=wanted if binary else None)
    same = expected(process, use_case)
    assert found.get_response()["id"] == "mine"
    values = found.as_numpy("prediction").tolist()
    texts = [value.decode() if isinstance(value, bytes) else value for value in values]
    assert texts == same["predictions"]
    assert len(set(found.as_numpy("prediction_id").tolist())) == len(ROWS)
    # By default the client asks for every output in binary form.
    everything = client.infer(use_case, inputs)
    if use_case != "houses":
        table = [list(row.values()) for row in same["probabilities"]]
        assert np.allclose(everything.as_numpy("probabilities"), table)


@pytest.mark.process
def test_a_published_client_reads_why_it_was_refused(process):
    client = triton.InferenceServerClient(f"127.0.0.1:{process.port}")
    tensor = triton.InferInput("area", [1], "FP64")
    tensor.set_data_from_numpy(np.array([1e9]))
    with pytest.raises(
        InferenceServerException, match=r"row 0, area: must be at most 2000.*row 0, rooms: is missing"
    ):
        client.infer("houses", [tensor])
    with pytest.raises(InferenceServerException, match="there is no use case 'castles'"):
        client.infer("castles", [tensor])


@pytest.mark.process
def test_mlflows_own_client_predicts_what_predict_predicts(process):
    client = ScoringServerClient("127.0.0.1", process.port)
    client.wait_server_ready()
    frame = pd.DataFrame(ROWS)
    frame["area"] = frame["area"].astype(float)
    found = client.invoke(frame).get_predictions()
    assert found[0].tolist() == expected(process, "houses")["predictions"]


@pytest.mark.parametrize("use_case", models.TASKS)
@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": ROWS},
        {"dataframe_split": {"columns": list(ROWS[0]), "data": [list(row.values()) for row in ROWS]}},
        {"inputs": ROWS},
        {"instances": ROWS},
        {"inputs": {name: [row[name] for row in ROWS] for name in ROWS[0]}},
        {"inputs": {name: [[row[name]] for row in ROWS] for name in ROWS[0]}},
        pd.DataFrame(ROWS).to_csv(index=False),
    ],
    ids=["records", "split", "inputs", "instances", "columns", "columns of lists", "csv"],
)
def test_each_form_of_mlflow(service, use_case, body):
    text, kind = (
        (body, "text/csv; charset=utf-8") if isinstance(body, str) else (json.dumps(body), "application/json")
    )
    reply = service.http.post(f"/invocations/{use_case}", content=text, headers={"content-type": kind})
    assert reply.status_code == 200, reply.text
    assert reply.json()["predictions"] == expected(service, use_case)["predictions"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        ("{}", "application/json", 422, "dataframe_split"),
        ('{"inputs": [], "instances": []}', "application/json", 422, "one of"),
        ('{"inputs": []}', "application/json", 422, "at least one row"),
        ('{"inputs": {"area": [1], "rooms": [1, 2]}}', "application/json", 422, "same number of values"),
        ('{"dataframe_split": {"columns": ["area"], "data": [[1, 2]]}}', "application/json", 422, "2 values"),
        (
            '{"dataframe_split": {"columns": ["area", "area"], "data": [[1, 2]]}}',
            "application/json",
            422,
            "twice",
        ),
        ('{"dataframe_split": [1]}', "application/json", 422, "columns"),
        ("area,rooms\n1\n", "text/csv", 422, "1 values"),
        ("area,area\n1,2\n", "text/csv", 422, "twice"),
        ("area,rooms\n", "text/csv", 422, "at least one row"),
        ("size,rooms\n1,2\n", "text/csv", 422, "is not a field"),
        ('{"inputs": [{"area": NaN, "rooms": Infinity}]}', "application/json", 422, "finite"),
        ('{"inputs": [NaN', "application/json", 400, "not JSON"),
        ('area\n"1', "text/csv", 400, "CSV"),
        (b"area\n\xff\n", "text/csv", 400, "UTF-8"),
        ("area\n1\n", "text/plain", 415, "application/json or text/csv"),
    ],
)
def test_broken_invocations_are_refused_in_words(service, body, kind, status, says):
    reply = service.http.post("/invocations", content=body, headers={"content-type": kind})
    assert (reply.status_code, says in reply.text) == (status, True), reply.text


def test_rows_are_logged_and_counted_like_those_of_predict(lab):
    lab.publish("houses")
    service = lab.serve()
    reply = infer(service, tensors(ROWS)).json()
    made = output(reply, "prediction_id")["data"]
    logged = service.wait(
        lambda: len(lab.predictions()) == len(ROWS) and {p.id: p for p in lab.predictions()}
    )
    assert [logged[one].row for one in made] == ROWS
    assert [logged[one].prediction for one in made] == output(reply, "prediction")["data"]
    assert service.metric("inference_requests_total", kind="infer", status="200") == 1


def test_null_is_nan_or_the_empty_text(service):
    row = EXAMPLE | {"area": None, "state": None}
    same = service.predict(row)["predictions"]
    inputs = {tensor["name"]: tensor for tensor in tensors([row | {"state": ""}])}
    block = np.array([np.nan], "<f8").tobytes()
    inputs["area"] |= {"parameters": {"binary_data_size": len(block)}}
    del inputs["area"]["data"]
    head = orjson.dumps({"inputs": list(inputs.values())})
    headers = {"content-type": BINARY, HEADER_LENGTH: str(len(head))}
    reply = service.http.post("/v2/models/houses/infer", content=head + block, headers=headers)
    assert output(reply.json(), "prediction")["data"] == same


def changed(tensor_name: str, **values) -> list[dict]:
    return [tensor | values if tensor["name"] == tensor_name else tensor for tensor in tensors(ROWS)]


@pytest.mark.parametrize(
    ("inputs", "status", "says"),
    [
        ([], 422, "a tensor for each field"),
        (changed("area", shape=[6]), 422, "area: has 7 values"),
        (changed("rooms", shape=[6], data=[1] * 6), 422, "rooms: must have 7 rows"),
        (changed("area", shape=[7, 2]), 422, "area: must have the shape"),
        (changed("area", shape=[]), 422, "area: must have the shape"),
        (changed("area", shape=[-1]), 422, "area: must have the shape"),
        (changed("area", shape=[10**9]), 413, "at most"),
        (changed("area", datatype="FP8"), 422, "area: must have a datatype of"),
        (changed("area", data=None), 422, "area: has neither data"),
        (changed("area", name="rooms"), 422, "rooms: is given twice"),
        (changed("area", name="size"), 422, "size: is not a field"),
        (changed("area", data=["much"] * 7), 422, "row 6, area: must be a number"),
        (changed("area", data="much"), 400, "no inference request"),
        (changed("kind", data=["flat"] * 6 + ["castle"]), 422, "row 6, kind: must be one of"),
    ],
)
def test_broken_tensors_are_refused_in_words(service, inputs, status, says):
    reply = infer(service, inputs)
    assert (reply.status_code, says in reply.json()["error"]) == (status, True), reply.text


def test_a_page_of_another_site_cannot_predict(service):
    """Browsers send a blob without a type and without asking first, but they say where it comes from."""
    body = orjson.dumps({"inputs": tensors(ROWS)})
    for headers, status in (
        ({}, 200),
        ({"origin": "https://example.org"}, 415),
        ({"content-type": "text/plain"}, 415),
    ):
        reply = service.http.post("/v2/models/houses/infer", content=body, headers=headers)
        assert reply.status_code == status, reply.text


def test_an_unknown_output_and_version_are_named(service):
    reply = infer(service, tensors(ROWS), outputs=[{"name": "price"}])
    assert reply.status_code == 422
    assert "price: is not an output; there are: prediction, prediction_id" in reply.json()["error"]
    reply = service.http.post("/v2/models/houses/versions/9/infer", json={"inputs": tensors(ROWS)})
    assert (reply.status_code, "version 1 is" in reply.json()["error"]) == (404, True)
    assert service.http.get("/v2/models/castles").status_code == 404


BLOCKS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.binary(max_size=5), max_size=4).map(
        lambda t: b"".join(len(x).to_bytes(4, "little") + x for x in t)
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(st.sampled_from([*DATATYPES, "size", "\ud800", ""]), max_size=7),
    datatypes=st.lists(st.sampled_from([*TYPES, "FP8", ""]), min_size=7, max_size=7),
    sizes=st.lists(st.one_of(st.integers(-1, 3), st.integers(), st.none()), min_size=7, max_size=7),
    block=BLOCKS,
    length=st.one_of(st.none(), st.text(max_size=3), st.integers().map(str)),
    rows=st.integers(-1, 4),
)
def test_no_binary_request_is_an_error_of_the_server(service, names, datatypes, sizes, block, length, rows):
    inputs = [
        {"name": name, "datatype": datatype, "shape": [rows], "parameters": {"binary_data_size": size}}
        for name, datatype, size in zip(names, datatypes, sizes, strict=False)
    ]
    head = json.dumps({"inputs": inputs}).encode()
    given = str(len(head)) if length is None else length.encode("ascii", "ignore").decode()
    headers = {"content-type": BINARY, HEADER_LENGTH: "".join(c for c in given if c.isprintable())}
    reply = service.http.post("/v2/models/houses/infer", content=head + block, headers=headers)
    assert 400 <= reply.status_code < 500, reply.text
    assert reply.json()["error"]


def text_block(*texts: bytes) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


@pytest.mark.parametrize(
    ("datatype", "block", "more", "header", "status", "says"),
    [
        ("FP64", b"1234567", b"", None, 422, "area: is no whole number of FP64"),
        ("FP64", b"12345678", b"9", None, 400, "1 bytes follow the last tensor"),
        ("BYTES", text_block(b"5")[:-1], b"", None, 422, "area: is cut short"),
        ("BYTES", text_block(b"5") + b"\x01\x00", b"", None, 422, "area: is cut short"),
        ("BYTES", text_block(b"\xff"), b"", None, 422, "row 0, area: must be UTF-8"),
        ("BYTES", text_block(b"5", b"6"), b"", None, 422, "area: has 2 values, and its shape says 1"),
        ("BYTES", text_block(b"5"), b"", "99999", 400, "must be the length of the JSON"),
        ("BYTES", text_block(b"5"), b"", "-1", 400, "must be the length of the JSON"),
        ("BYTES", text_block(b"5"), b"", "3", 400, "is not JSON"),
    ],
)
def test_broken_binary_tensors_are_refused_in_words(service, datatype, block, more, header, status, says):
    inputs = [tensor for tensor in tensors([EXAMPLE]) if tensor["name"] != "area"]
    size = {"binary_data_size": len(block)}
    inputs.append({"name": "area", "datatype": datatype, "shape": [1], "parameters": size})
    head = orjson.dumps({"inputs": inputs})
    headers = {"content-type": BINARY, HEADER_LENGTH: header or str(len(head))}
    reply = service.http.post("/v2/models/houses/infer", content=head + block + more, headers=headers)
    assert (reply.status_code, says in reply.json()["error"]) == (status, True), reply.text
