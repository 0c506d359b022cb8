"""What the routes have in common: signatures at POST /, probes, hosts, and what nobody foresaw."""

import asyncio
import base64
import json
import socket
import threading
import time

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from deployments.endpoint import readiness, waiting
from deployments.endpoint.app import make_app
from deployments.endpoint.keys import Key, Keys
from deployments.endpoint.readiness import Readiness
from deployments.endpoint.server import make_parts
from flows.serve_config import ServeConfig
from tasks.errors import EnvironmentFailed, RegistryError
from tasks.serving.errors import ModelUnavailable
from tasks.serving.states import VersionStates
from tasks.tracking.ledger import Ledger
from tasks.tracking.registry import Registry
from tests.deployments.endpoint.served import DENT, KEY_ID, OTHER_ID, OTHER_SECRET, PICTURE, SECRET

SECRET_PLACE = "http://10.0.0.7:5000"
JSON_11 = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "RekognitionService.DetectCustomLabels"}


def rekognition(endpoint, key=KEY_ID, secret=SECRET, region="us-east-1"):
    return boto3.client(
        "rekognition",
        endpoint_url=endpoint.address,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def production(client, model="dents"):
    (project,) = client.describe_projects(ProjectNames=[model])["ProjectDescriptions"]
    (version,) = client.describe_project_versions(ProjectArn=project["ProjectArn"], VersionNames=["production"])[
        "ProjectVersionDescriptions"
    ]
    return version["ProjectVersionArn"]


def test_boto3_gets_the_same_answer_as_the_plain_api(endpoint):
    client = rekognition(endpoint)
    (label,) = client.detect_custom_labels(ProjectVersionArn=production(client), Image={"Bytes": PICTURE})[
        "CustomLabels"
    ]
    assert label["Name"] == "dent"
    assert {name.lower(): value for name, value in label["Geometry"]["BoundingBox"].items()} == pytest.approx(DENT)
    with endpoint.client() as plain:
        told = plain.post("/v1/models/dents@production:predict", content=PICTURE).json()
    assert told["boxes"][0]["confidence"] == pytest.approx(label["Confidence"])
    assert "POST / DetectCustomLabels 200" in endpoint.log()


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        pytest.param({"secret": "another-secret-altogether"}, "InvalidSignatureException", id="wrong secret"),
        pytest.param({"key": "AKNOBODY"}, "UnrecognizedClientException", id="unknown key"),
        pytest.param({"region": "eu-west-1"}, "InvalidSignatureException", id="another region"),
    ],
)
def test_signature_is_verified(endpoint, credentials, code):
    with pytest.raises(ClientError) as refused:
        rekognition(endpoint, **credentials).describe_projects()
    assert refused.value.response["Error"]["Code"] == code


def test_large_signed_image_is_verified_in_a_thread(endpoint):
    client = rekognition(endpoint)
    padded = PICTURE + bytes(600_000)  # what follows a PNG's end is no part of it
    answer = client.detect_custom_labels(ProjectVersionArn=production(client), Image={"Bytes": padded})
    assert answer["CustomLabels"][0]["Name"] == "dent"


def test_key_for_some_models_is_refused_others(endpoint):
    arn = production(rekognition(endpoint))
    client = rekognition(endpoint, OTHER_ID, OTHER_SECRET)
    assert len(client.describe_projects()["ProjectDescriptions"]) == 1
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.detect_custom_labels(ProjectVersionArn=arn, Image={"Bytes": PICTURE})


def test_body_larger_than_any_image_is_an_error_of_the_protocol(endpoint):
    body = json.dumps({"Image": {"Bytes": base64.b64encode(bytes(7_000_000)).decode()}})
    for target, code in ((JSON_11["x-amz-target"], "ImageTooLargeException"), ("Other", "ValidationException")):
        headers = signed(endpoint.address, body, {**JSON_11, "x-amz-target": target})
        answer = httpx.post(endpoint.address, content=body, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["__type"]) == (400, code)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, "MissingAuthenticationTokenException", id="unsigned"),
        pytest.param({"authorization": "AWS4-HMAC-SHA256 nonsense"}, "IncompleteSignatureException", id="malformed"),
        pytest.param({"key": "AKNOBODY"}, "UnrecognizedClientException", id="unknown key"),
    ],
)
def test_what_the_head_tells_is_refused_before_the_body(endpoint, headers, code):
    if "key" in headers:
        headers = signed(endpoint.address, "{}", JSON_11, headers["key"])
    host, port = endpoint.address.removeprefix("http://").split(":")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "content-length")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}Content-Length: 8000000\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"}"):
            received = connection.recv(4096)
            assert received
            answer += received
    assert answer.startswith(b"HTTP/1.1 400")
    assert code.encode() in answer


def signed(address, body, headers, key=KEY_ID, secret=SECRET):
    """Return headers signed by botocore."""
    request = AWSRequest("POST", address + "/", data=body, headers=headers)
    SigV4Auth(Credentials(key, secret), "rekognition", "us-east-1").add_auth(request)
    return dict(request.headers)


def test_unsigned_call_is_refused(endpoint):
    answer = httpx.post(endpoint.address, content=b"{}", headers=JSON_11, trust_env=False)
    assert (answer.status_code, answer.json()["__type"]) == (400, "MissingAuthenticationTokenException")
    assert answer.headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("localhost:8080", 200, id="this machine"),
        pytest.param("[::1]:8080", 200, id="this machine, IPv6"),
        pytest.param("evil.example", 400, id="a name that was bent to this machine"),
        pytest.param("127.0.0.1.evil.example", 400, id="looks like this machine"),
        pytest.param("", 400, id="none"),
    ],
)
def test_without_keys_only_names_of_this_machine_are_answered(open_endpoint, host, status):
    answer = httpx.get(open_endpoint.address + "/healthz", headers={"host": host}, trust_env=False)
    assert answer.status_code == status


def test_with_keys_any_name_is_answered(endpoint):
    answer = httpx.get(endpoint.address + "/healthz", headers={"host": "models.example"}, trust_env=False)
    assert answer.status_code == 200


def in_process(app, *paths):
    """Get some paths of an application within one event loop."""

    async def run():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            return [await client.get(path) for path in paths]

    return asyncio.run(run())


@pytest.fixture
def parts(served_home, tmp_path):
    config = ServeConfig(no_auth=True, database=f"sqlite:///{tmp_path / 'states.db'}")
    return make_parts(config, None, Registry(served_home), VersionStates(config.database), Ledger(config.database))


def test_readiness_follows_the_registry(parts, monkeypatch, caplog):
    monkeypatch.setattr(parts.readiness, "_ask", lost)
    monkeypatch.setattr(readiness, "VALID_SECONDS", -1.0)
    alive, not_ready, still = in_process(make_app(parts, write=str), "/healthz", "/readyz", "/readyz")
    assert (alive.status_code, not_ready.status_code, still.status_code) == (200, 503, 503)
    assert "does not answer" in not_ready.json()["detail"]
    assert SECRET_PLACE not in not_ready.text
    assert caplog.text.count(SECRET_PLACE) == 1


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/dents"])
@pytest.mark.parametrize(
    "error", [EnvironmentFailed, RegistryError, ModelUnavailable], ids=["environment", "registry", "model"]
)
def test_problem_tells_no_place_of_the_server(parts, monkeypatch, caplog, error, path):
    def fails(*_):
        raise error(f"cannot be read: {SECRET_PLACE}")

    for name in ("model", "models"):
        monkeypatch.setattr(parts.catalogue, name, fails)
    (answer,) = in_process(make_app(parts, write=str), path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert SECRET_PLACE not in answer.text
    assert SECRET_PLACE in caplog.text


def test_silent_registry_holds_up_nothing_else(served_home, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "REGISTRY_SECONDS", 2.0)
    keys = Keys({KEY_ID: Key(KEY_ID, SECRET)})
    config = ServeConfig(database=f"sqlite:///{tmp_path / 'states.db'}")
    registry, release = Registry(served_home), threading.Event()
    parts = make_parts(config, keys, registry, VersionStates(config.database), Ledger(config.database))
    made = next(model for model in registry.models() if model.name == "dents").created_ms
    arn = f"arn:aws:rekognition:us-east-1:000000000000:project/dents/version/production/{made}"
    image = base64.b64encode(PICTURE + bytes(400_000)).decode()
    detect = json.dumps({"ProjectVersionArn": arn, "Image": {"Bytes": image}})
    described = {**JSON_11, "x-amz-target": "RekognitionService.DescribeProjects"}

    async def run():
        app = make_app(parts, write=str)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=20) as client,
        ):

            async def call(body, headers):
                return await client.post("/", content=body, headers=signed("http://localhost", body, headers))

            first = await call(detect, JSON_11)
            monkeypatch.setattr(registry, "models", lambda: release.wait(20) and [])
            lists = [client.get("/v1/models", auth=(KEY_ID, SECRET)) for _ in range(waiting.REGISTRY_THREADS)]
            hanging = [asyncio.create_task(one) for one in [*lists, call("{}", described)]]
            await asyncio.sleep(0.3)
            second = await call(detect, JSON_11)
            assert not any(one.done() for one in hanging)
            return first, second, await asyncio.gather(*hanging)

    try:
        first, second, (*lists, description) = asyncio.run(run())
    finally:
        release.set()
    assert first.json() == second.json()
    assert first.json()["CustomLabels"]
    assert {one.status_code for one in lists} == {503}
    assert (description.status_code, description.json()["__type"]) == (500, "InternalServerError")


def test_fault_is_logged_and_not_told(parts, monkeypatch):
    monkeypatch.setattr(parts.readiness, "_ask", lambda: 1 / 0)
    lines = []
    (answer,) = in_process(make_app(parts, write=lines.append), "/readyz")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "division" not in answer.text
    assert "Traceback" not in answer.text
    assert lines[0].startswith("GET /readyz 500 ")


def lost():
    raise EnvironmentFailed(f"MLflow at {SECRET_PLACE} does not answer")


def test_registry_is_asked_once_at_a_time():
    asked = []

    def ask():
        asked.append(1)
        time.sleep(0.05)

    async def run():
        probe = Readiness(ask)
        return await asyncio.gather(*(probe.trouble() for _ in range(9))), await probe.trouble()

    assert asyncio.run(run()) == ([""] * 9, "")
    assert len(asked) == 1


def test_registry_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(readiness, "VALID_SECONDS", 0.0)
    release, asked = threading.Event(), []

    def ask():
        asked.append(1)
        release.wait(5)

    async def run():
        probe = Readiness(ask)
        silent = [await probe.trouble() for _ in range(2)]
        release.set()
        await asyncio.sleep(0.05)
        return silent, await probe.trouble()

    (first, second), later = asyncio.run(run())
    assert "has not answered" in first == second
    assert later == ""
    assert len(asked) <= 2


def test_page_and_its_files_come_from_this_host_only(open_endpoint):
    with open_endpoint.client(auth=None) as client:
        page = client.get("/")
        names = ("page.css", "page.js", "common.js", "status.css", "status.js", "icon.svg")
        files = [client.get(f"/page/{name}") for name in names]
    assert [one.status_code for one in (page, *files)] == [200] * 7
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for one in (page, *files):
        assert "://" not in one.text.replace("http://www.w3.org/2000/svg", "")
        assert "url(" not in one.text
