"""The plain API as programs meet it, over HTTP."""

import math
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.deployments.endpoint.served import DENT, OTHER_ID, OTHER_SECRET, PICTURE, SECRET, picture
from tests.makers import png_bytes

PNG = {"content-type": "image/png"}
DENTS, COLOURS = "/v1/models/dents@production:predict", "/v1/models/colours@staging:predict"


@pytest.fixture(scope="module")
def client(endpoint):
    with endpoint.client() as client:
        yield client


def test_classifier_names_the_colour(client):
    answer = client.post(COLOURS, content=picture("green"), headers=PNG)
    assert answer.status_code == 200
    told = answer.json()
    assert [one["label"] for one in told["labels"]] == ["green"]
    assert told["labels"][0]["confidence"] > 99
    assert (told["model"], told["version"], told["task"]) == ("colours", "1", "classification")
    assert (told["width"], told["height"], told["boxes"]) == (96, 96, [])
    assert set(told["confidences"]) == {"blue", "green", "red"}
    assert sum(told["confidences"].values()) == pytest.approx(100, abs=1e-3)


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded", ""])
def test_body_is_the_image_whatever_its_sender_calls_it(client, kind):
    answer = client.post(COLOURS, content=picture("red"), headers={"content-type": kind})
    assert answer.status_code == 200
    assert answer.json()["labels"][0]["label"] == "red"


def test_detector_tells_its_box_as_ratios_and_pixels(client):
    tall = png_bytes(np.zeros((200, 100, 3), np.uint8))
    told = client.post(DENTS, content=tall, headers=PNG).json()
    (box,) = told["boxes"]
    assert box["label"] == told["labels"][0]["label"] == "dent"
    assert box["confidence"] == pytest.approx(90, abs=1e-3)
    # The picture is half as wide as the square that the network sees, and the box ends with it.
    assert box["ratios"] == pytest.approx({"left": 0.5, "top": DENT["top"], "width": 0.5, "height": DENT["height"]})
    assert box["pixels"] == pytest.approx({"left": 50.0, "top": 25.0, "width": 50.0, "height": 50.0})


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        pytest.param("", ["dent"], id="own thresholds"),
        pytest.param("?min_confidence=20", ["dent", "hole"], id="below the threshold"),
        pytest.param("?min_confidence=95", [], id="above all"),
        pytest.param("?min_confidence=0&max_results=1", ["dent"], id="at most one"),
    ],
)
def test_query_chooses_what_is_told(client, query, labels):
    told = client.post(DENTS + query, content=PICTURE, headers=PNG).json()
    assert [box["label"] for box in told["boxes"]] == labels
    assert [one["label"] for one in told["labels"]] == labels


def test_form_holds_the_image_too(client):
    raw = client.post(COLOURS, content=picture("red"), headers=PNG).json()
    assert client.post(COLOURS, files={"image": ("a.png", picture("red"))}).json() == raw
    assert client.post(COLOURS, content=picture("red")).json() == raw  # no content type at all


@pytest.mark.parametrize(
    ("path", "request_", "status", "words"),
    [
        pytest.param(DENTS, {"content": b"no image"}, 400, "none of JPEG", id="no image"),
        pytest.param(DENTS, {"content": b""}, 400, "no bytes", id="empty"),
        pytest.param(DENTS, {"content": PICTURE[:200]}, 400, "cut short", id="truncated"),
        pytest.param(DENTS, {"files": {"photo": ("a", PICTURE)}}, 400, "'image'", id="form without the field"),
        pytest.param(
            DENTS, {"data": {"image": "x"}, "files": {"b": ("a", b"")}}, 400, "'image'", id="field is no file"
        ),
        pytest.param(
            DENTS,
            {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
            400,
            "boundary",
            id="form without boundary",
        ),
        pytest.param(
            DENTS,
            {"content": b"--b\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400,
            "form",
            id="broken form",
        ),
        pytest.param(DENTS, {"json": {}}, 415, "application/json", id="JSON"),
        pytest.param("/v1/models/nobody@production:predict", {"content": PICTURE}, 404, "nobody", id="unknown model"),
        pytest.param("/v1/models/dents@nobody:predict", {"content": PICTURE}, 404, "nobody", id="unknown alias"),
        pytest.param("/v1/models/dents@99:predict", {"content": PICTURE}, 404, "99", id="unknown version"),
        pytest.param("/v1/models/dents@2:predict", {"content": PICTURE}, 409, "not running", id="not running"),
        pytest.param(DENTS, {"content": bytes(1_000_001)}, 413, "1000001", id="too large"),
        pytest.param(DENTS, {"content": iter([bytes(600_000)] * 2)}, 413, "more than 1000000", id="chunked too large"),
        pytest.param(f"{DENTS}?min_confidence=101", {"content": PICTURE}, 422, "min_confidence", id="out of range"),
        pytest.param(f"{DENTS}?min_confidence=nan", {"content": PICTURE}, 422, "min_confidence", id="not a number"),
        pytest.param(f"{DENTS}?max_results=0", {"content": PICTURE}, 422, "max_results", id="no results"),
        pytest.param(f"{DENTS}?max_result=1", {"content": PICTURE}, 422, "max_result", id="unknown parameter"),
    ],
)
def test_refusal_is_a_problem(client, path, request_, status, words):
    answer = client.post(path, **request_)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == status
    assert told["title"]
    assert words in told["detail"]


def test_bad_image_has_its_finding(client):
    assert client.post(DENTS, content=b"x").json()["code"] == "ERROR_INVALID_IMAGE"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", DENTS, 405, id="GET of a prediction"),
        pytest.param("PUT", "/v1/models", 405, id="PUT"),
        pytest.param("DELETE", "/", 405, id="DELETE of the page"),
        pytest.param("GET", "/v2", 404, id="unknown path"),
        pytest.param("GET", "/v1/models/..%2f..%2fetc", 404, id="path that climbs"),
        pytest.param("GET", "/page/../parts.py", 404, id="file beside the page"),
        pytest.param("BREW", "/v1/models", 400, id="unknown method"),
    ],
)
def test_other_methods_and_paths_are_refused(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    if status == 405:
        assert answer.headers["allow"]


def test_models_are_told_with_versions_aliases_states_and_figures(client):
    told = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert list(told) == ["colours", "dents"]
    dents = told["dents"]
    assert dents["task"] == "detection"
    assert dents["aliases"] == [{"alias": "production", "version": "1", "state": "RUNNING"}]
    assert [one["version"] for one in dents["versions"]] == ["2", "1"]
    assert {one["state"] for one in dents["versions"]} == {"NOT_STARTED"}
    assert told["colours"]["versions"][0]["metrics"] == {"test.accuracy": 0.9375, "test.macro_f1": 0.875}
    assert told["colours"]["versions"][0]["status"] == "staged"
    assert client.get("/v1/models/dents").json() == dents
    assert client.get("/v1/models/nobody").status_code == 404


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/dents", "/v1/status", "/", "/status", "/metrics", "/openapi.json"]
)
@pytest.mark.parametrize(
    "auth",
    [
        pytest.param(None, id="none"),
        pytest.param(("AKTESTALL", "wrong"), id="wrong secret"),
        pytest.param(("AKNOBODY", SECRET), id="unknown key"),
    ],
)
def test_key_is_needed(endpoint, path, auth):
    with endpoint.client(auth=auth) as client:
        refused = client.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    assert SECRET not in refused.text


def test_prediction_needs_a_key_before_its_body_is_read(endpoint):
    host, port = endpoint.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(f"POST {DENTS} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_key(endpoint, path):
    with endpoint.client(auth=None) as client:
        assert client.get(path).status_code == 200


def test_key_for_some_models_sees_only_these(endpoint):
    with endpoint.client(auth=(OTHER_ID, OTHER_SECRET)) as client:
        assert [model["name"] for model in client.get("/v1/models").json()["models"]] == ["colours"]
        assert client.post(COLOURS, content=PICTURE, headers=PNG).status_code == 200
        refused = client.post(DENTS, content=PICTURE, headers=PNG)
        unknown = client.post("/v1/models/nobody@production:predict", content=PICTURE, headers=PNG)
        assert client.get("/v1/models/dents").status_code == refused.status_code == unknown.status_code == 403
        assert refused.json()["detail"].replace("dents", "nobody") == unknown.json()["detail"]
        assert client.get("/metrics").status_code == 403


def test_many_clients_at_once_get_their_own_answers(endpoint):
    colours = ["red", "green", "blue"] * 20
    with endpoint.client() as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda one: client.post(COLOURS, content=picture(one), headers=PNG).json(), colours))
    assert [answer["labels"][0]["label"] for answer in answers] == colours


def test_api_keeps_to_its_openapi(open_endpoint):
    schema = schemathesis.openapi.from_url(f"{open_endpoint.address}/openapi.json")
    names = st.sampled_from(["dents", "colours", "nobody"])
    qualifiers = st.sampled_from(["production", "staging", "1", "2"])
    paths = set()
    for operation in schema.get_all_operations():
        cases = operation.ok().as_strategy()

        @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=cases, name=names, qualifier=qualifiers, known=st.booleans())
        def probe(case, name, qualifier, known):
            if known and "name" in case.path_parameters:
                case.path_parameters["name"] = name
            if known and "qualifier" in case.path_parameters:
                case.path_parameters["qualifier"] = qualifier
            paths.add(case.path)
            answer = case.call(timeout=20)
            assert answer.status_code < 500
            # No schema can say which bytes are an image.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        probe()
    assert len(paths) == 4


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=300) | st.sampled_from([b"{}", b"[]", b'{"Image":{"Bytes":"!"}}', b"\xff" * 9, PICTURE]),
    target=st.sampled_from(["", "DetectCustomLabels", "StartProjectVersion", "DescribeProjects", "Nothing"]),
    kind=st.sampled_from(["application/x-amz-json-1.1", "application/json", "image/png", "multipart/form-data", ""]),
    path=st.sampled_from(["/", DENTS, "/v1/models/%00@%ff:predict"]),
)
def test_no_bytes_make_it_fail(open_endpoint, body, target, kind, path):
    headers = {"x-amz-target": f"RekognitionService.{target}", "content-type": kind}
    answer = httpx.post(open_endpoint.address + path, content=body, headers=headers, trust_env=False)
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    assert math.isfinite(len(answer.json()))
