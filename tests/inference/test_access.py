"""API keys: which routes need one, with which right, and what a request without it gets."""

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import tritonclient.http as triton
from starlette.routing import Mount, Route
from tritonclient.utils import InferenceServerException

from inference.app import create_app
from inference.settings import InferenceSettings
from mlops_lab.api_keys import line_of
from mlops_lab.lab import Lab
from mlops_lab.model.predictor import Predictor
from mlops_lab.rollout import RolloutError, check_replicas
from mlops_lab.settings import Settings, SettingsError
from mlops_lab.steps.promote import roll_out
from tests.inference.serving import EXAMPLE, KEYS, TOKEN, VERIFY_KEYS, Served, bearer, keys_list

# What a stranger may see: whether the service lives and serves, its figures, and how to call it.
OPEN = {
    ("GET", path)
    for path in (
        "/",
        "/health",
        "/ping",
        "/ready",
        "/metrics",
        "/docs",
        "/docs/oauth2-redirect",
        "/openapi.json",
    )
} | {("GET", "/v2"), ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"), ("POST", "/reload")}
ID = "0" * 32


@pytest.fixture(scope="module")
def guarded(shared) -> Served:
    return shared.serve(api_keys=keys_list())


def _routes(service: Served) -> Iterator[tuple[str, str]]:
    """(method, path) of each route, also of those that OpenAPI doesn't have."""
    values = {"use_case": "houses", "version": "1", "feature": "state", "fingerprint": "1" * 16}
    for route in service.http.app.routes:
        if isinstance(route, Mount):
            assert route.path == "/static-offline-docs"
            continue
        assert isinstance(route, Route)
        for method in route.methods - {"HEAD"}:
            yield method, route.path.format(**values, prediction_id=ID)


def test_each_route_that_is_not_open_refuses_a_request_without_a_key(guarded):
    routes = set(_routes(guarded))
    assert routes > OPEN
    assert len(routes) > 30
    for method, path in sorted(routes):
        reply = guarded.http.request(method, path, json=EXAMPLE if method == "POST" else None)
        if (method, path) in OPEN:
            # The reload token is another one.
            assert reply.status_code == (401 if path == "/reload" else 200), path
            continue
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer"), (method, path)
        text = reply.json()["error" if path.startswith("/v2/") else "detail"]
        assert "Authorization: Bearer" in text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/predict/"),
        ("POST", "/predict/houses/"),
        ("POST", "//predict/houses"),
        ("POST", "/./predict/houses"),
        ("POST", "/health/../predict/houses"),
        ("POST", "/health%2f..%2fpredict/houses"),
        ("POST", "/PREDICT/houses"),
        ("POST", "/predict%2Fhouses"),
        ("POST", "/%70redict/houses"),
        ("POST", "/predict/houses?x=/health"),
        ("POST", "/predict/houses%0a"),
        ("POST", "/static-offline-docs"),
        ("GET", "/predictions/"),
        ("GET", "/predictions?limit=1"),
        ("GET", f"/predictions/{ID}/"),
        ("HEAD", "/models"),
        ("HEAD", "/predictions"),
        ("OPTIONS", "/predict/houses"),
        ("PUT", "/predict/houses"),
        ("GET", "/nothing"),
        ("GET", "/HEALTH"),
        ("GET", "/health/"),
    ],
)
def test_no_spelling_of_a_path_goes_around_the_check(guarded, method, path):
    asked = guarded.http.build_request(method, "/", json=EXAMPLE if method == "POST" else None)
    asked.url = asked.url.copy_with(raw_path=path.encode())
    assert guarded.http.send(asked, follow_redirects=False).status_code == 401


def test_a_key_has_the_rights_of_its_line_and_no_other(guarded):
    prediction = guarded.http.post("/predict/houses", json=EXAMPLE, headers=bearer("caller"))
    assert prediction.status_code == 200, prediction.text
    [known] = prediction.json()["prediction_ids"]
    feedback = {"prediction_id": known, "actual": 5}
    for method, path, body in (
        ("POST", "/predict", EXAMPLE),
        ("POST", "/explain/houses", EXAMPLE),
        ("POST", "/feedback", feedback),
        ("POST", "/invocations/houses", {"dataframe_records": [EXAMPLE]}),
        ("GET", "/models/houses", None),
        ("GET", "/v2/models/houses", None),
        ("GET", "/alerts/notes", None),
    ):
        for name, right in (("caller", True), ("both", True), ("auditor", False)):
            reply = guarded.http.request(method, path, json=body, headers=bearer(name))
            assert reply.is_success == right, (path, name, reply.text)
            if not right:
                text = reply.json()["error" if path.startswith("/v2/") else "detail"]
                assert (reply.status_code, text) == (403, "the API key auditor has no right to predict")
    for path in ("/predictions", f"/predictions/{ID}"):
        for name, status in (("caller", {403}), ("both", {200, 404}), ("auditor", {200, 404})):
            assert guarded.http.get(path, headers=bearer(name)).status_code in status


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEYS['both']}",
        KEYS["both"],
        f"Bearer {KEYS['both'][:-1]}",
        f"Bearer {KEYS['both']}x",
        f"Bearer {KEYS['both'].swapcase()}",
        "Bearer " + line_of("x", ["read"], KEYS["both"]).split()[2],
        f"Bearer {TOKEN}",
        b"Bearer \xff\xfe",
        "Bearer " + "x" * 60_000,
    ],
)
def test_another_key_is_refused_in_one_line_without_it(guarded, header):
    reply = guarded.http.get("/models", headers={"Authorization": header})
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert "\n" not in reply.json()["detail"]
    assert KEYS["both"] not in reply.text
    assert len(reply.content) < 200


def test_the_scheme_is_read_in_any_case(guarded):
    for scheme in ("bearer", "BEARER", "Bearer "):
        reply = guarded.http.get("/models", headers={"Authorization": f"{scheme} {KEYS['caller']}"})
        assert reply.status_code == 200


def test_refused_requests_are_counted_and_not_logged(lab, caplog):
    caplog.set_level("DEBUG")
    lab.publish("houses")
    service = lab.serve(api_keys=keys_list())
    for headers in ({}, {"Authorization": "Bearer wrong-one"}):
        assert service.http.post("/predict/houses", json=EXAMPLE, headers=headers).status_code == 401
    assert service.http.post("/predict/houses", json=EXAMPLE, headers=bearer("auditor")).status_code == 403
    service.http.post("/predict/houses", json=EXAMPLE, headers=bearer("caller"))
    assert service.metric("inference_errors_total", use_case="unknown", kind="unauthorized") == 2
    assert service.metric("inference_errors_total", use_case="unknown", kind="forbidden") == 1
    service.wait(lab.requests)
    assert [row.status for row in lab.requests()] == [200]
    assert len(lab.predictions()) == 1
    for text in ("wrong-one", *KEYS.values(), *(line.split()[2] for line in keys_list().splitlines())):
        assert text not in caplog.text


def test_the_body_of_a_stranger_is_not_read(guarded):
    def body() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async def receive():
        raise AssertionError("the body was read")

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict/houses", "headers": [], "query_string": b""}
    guarded.http.portal.call(guarded.http.app, scope, receive, send)
    assert sent[0]["status"] == 401


def test_without_keys_nothing_is_asked_and_the_log_stays_closed(service):
    assert service.predict()
    for path in ("/predictions", f"/predictions/{ID}"):
        reply = service.http.get(path)
        assert reply.status_code == 403
        assert "LAB_API_KEYS isn't set" in reply.json()["detail"]
    document = service.http.get("/openapi.json").json()
    assert "securitySchemes" not in document["components"]
    assert "401" not in document["paths"]["/predict/houses"]["post"]["responses"]


def test_openapi_says_which_routes_need_a_key(guarded):
    document = guarded.http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    protected = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    }
    every = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    assert every - protected == OPEN - {
        ("GET", p) for p in ("/docs", "/docs/oauth2-redirect", "/openapi.json")
    }
    right = document["paths"]["/predictions"]["get"]["responses"]["403"]["description"]
    assert right == "The API key has no right to read"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("caller predict", "line 1: it has 2 words"),
        (f"# a comment\n\n{keys_list()}\ncaller write {'0' * 64}", "line 6: the name is used before"),
        (f"other write {'0' * 64}", "line 1: the rights are predict and read"),
        (f"other predict, read {'0' * 64}", "line 1: it has 4 words"),
        (f"other predict {'0' * 63}g", "line 1: the hash must be 64"),
        (f"other predict {KEYS['both']}", "line 1: the hash must be 64"),
        (f"ö predict {'0' * 64}", "line 1: a name has"),
        ("# a comment\n", "has no key"),
    ],
)
@pytest.mark.parametrize("form", ["variable", "file"])
def test_a_wrong_list_keeps_the_service_from_starting_with_one_line(tmp_path, text, fault, form):
    path = tmp_path / "keys"
    path.write_text(text)
    chosen = {"api_keys": text} if form == "variable" else {"api_keys_file": path}
    with pytest.raises(SettingsError) as refused:
        create_app(InferenceSettings(home=tmp_path, **chosen))
    line = str(refused.value)
    assert fault in line
    assert line.startswith(f"setting LAB_API_KEYS{'' if form == 'variable' else '_FILE'}: ")
    assert "\n" not in line
    for secret in ("0" * 63, *KEYS.values()):
        assert secret not in line


def test_a_file_and_a_variable_count_together_and_an_empty_variable_is_off(tmp_path):
    lines = keys_list().splitlines()
    (tmp_path / "keys").write_text("\n".join(lines[1:]))
    both = InferenceSettings(api_keys=lines[0], api_keys_file=tmp_path / "keys").keys()
    assert [both.find(key).name for key in KEYS.values()] == list(KEYS)
    assert both.find("") is None
    assert InferenceSettings(api_keys=" \n").keys() is None
    with pytest.raises(SettingsError, match=r"LAB_API_KEYS_FILE: No such file"):
        InferenceSettings(api_keys_file=tmp_path / "absent").keys()


@pytest.mark.process
def test_published_clients_and_a_rollout_send_a_key(shared):
    service = shared.start(api_keys=keys_list())
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    assert client.is_server_ready()
    with pytest.raises(InferenceServerException, match="requires an API key"):
        client.get_model_metadata("houses")
    described = client.get_model_metadata("houses", headers=bearer("caller"))["inputs"]
    inputs = []
    for tensor in described:
        kind = {"FP64": np.float64, "INT64": np.int64, "BOOL": bool, "BYTES": object}[tensor["datatype"]]
        inputs.append(triton.InferInput(tensor["name"], [1], tensor["datatype"]))
        inputs[-1].set_data_from_numpy(np.array([EXAMPLE[tensor["name"]]], dtype=kind))
    with pytest.raises(InferenceServerException, match="requires an API key"):
        client.infer("houses", inputs)
    found = client.infer("houses", inputs, headers=bearer("caller")).as_numpy("prediction")
    row = service.http.post("/predict/houses", json=EXAMPLE, headers=bearer("caller")).json()
    assert list(found) == row["predictions"]

    predictor = Predictor.load(shared.built / "houses-1.0")
    address = str(service.http.base_url)
    lines: list[str] = []
    settings = Settings(
        home=shared.home,
        mlflow_url=shared.registry.tracking_uri,
        inference_url=address,
        reload_token=TOKEN,
        verify_keys=VERIFY_KEYS,
        api_key=KEYS["caller"],
    )
    roll_out(Lab(settings, lines.append), SimpleNamespace(name="houses"), None, 1)
    assert lines[-1] == "version 1 is served by 1 replica"
    with pytest.raises(RolloutError, match="answers 401"):
        check_replicas(address, TOKEN, 0, "houses", 1, predictor)
