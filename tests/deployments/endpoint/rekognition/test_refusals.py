import orjson
import pytest

from tasks.stores.home import Home
from tasks.tracking.registry import Registry
from tests.deployments.endpoint.rekognition.conftest import PRODUCTION, detection
from tests.tasks.serving.made_registry import registry_that_is_gone


@pytest.mark.parametrize(
    "arn",
    [
        PRODUCTION.replace("bolts", "nobody"),
        PRODUCTION.replace("production", "nobody"),
        PRODUCTION.replace("production", "99"),
        PRODUCTION.replace("production", "3"),
        PRODUCTION.replace("production", "9" * 255),
        PRODUCTION.replace("us-east-1", "eu-west-1"),
        PRODUCTION.replace("000000000000", "123456789012"),
        PRODUCTION.replace("arn:aws:", "arn:aws-cn:"),
    ],
    ids=["project", "alias", "number", "digits", "huge number", "region", "account", "partition"],
)
def test_unknown_version_is_not_found(arn, wire):
    for operation in ("DetectCustomLabels", "StartProjectVersion", "StopProjectVersion"):
        code, message = wire.error(operation, detection(arn) | {"MinInferenceUnits": 1})
        assert code == "ResourceNotFoundException", message


@pytest.mark.parametrize(
    "arn", [PRODUCTION.replace("arn:aws:rekognition", "arn:aws:s3"), PRODUCTION[:-2], PRODUCTION + "\n", "x" * 30]
)
def test_what_is_no_arn_breaks_the_shape(arn, wire):
    assert wire.error("DetectCustomLabels", detection(arn))[0] == "ValidationException"


@pytest.mark.parametrize("qualifier", ["1", "2", "3"])
def test_version_that_was_not_started_is_not_ready(qualifier, wire):
    code, message = wire.error("DetectCustomLabels", detection(wire.version_arn("bolts", qualifier)))
    assert code == "ResourceNotReadyException"
    assert f"version {qualifier} of bolts is not running" in message


def test_foreign_project_is_denied_before_anything_is_looked_up(wire):
    for name in ("bolts", "nobody"):
        arn = PRODUCTION.replace("bolts", name)
        project = arn.replace("/version/production", "")
        for operation, document in [
            ("DetectCustomLabels", detection(arn)),
            ("StartProjectVersion", {"ProjectVersionArn": arn, "MinInferenceUnits": 1}),
            ("StopProjectVersion", {"ProjectVersionArn": arn}),
            ("DescribeProjectVersions", {"ProjectArn": project}),
        ]:
            code, message = wire.error(operation, document, key=("boxes",))
            assert (code, f"project {name} is not yours" in message) == ("AccessDeniedException", True), operation
    assert wire.states.all("bolts") == {}
    assert wire.ask("DetectCustomLabels", detection(wire.version_arn("boxes")), key=("boxes",))


def test_key_sees_its_own_projects_only(wire):
    found = wire.ask("DescribeProjects", {}, key=("boxes", "nobody"))["ProjectDescriptions"]
    assert [one["ProjectArn"] for one in found] == [wire.project_arn("boxes")]
    named = {"ProjectNames": ["bolts"]}
    assert wire.ask("DescribeProjects", named, key=("boxes",)) == {"ProjectDescriptions": []}


def test_overload_is_told_so_that_clients_come_again(make_wire):
    wire = make_wire(max_pending=1)
    with wire.service.admit():
        assert wire.error("DetectCustomLabels", detection(PRODUCTION)) == (
            "ProvisionedThroughputExceededException",
            "Provisioned Rate exceeded.",
        )
    assert wire.detect(PRODUCTION)


def test_stopping_service_asks_to_come_again(wire):
    wire.runner.run(wire.service.aclose())
    told = wire.runner.run(wire.answer("DetectCustomLabels", detection(PRODUCTION)))
    assert (told.status, told.code) == (500, "ThrottlingException")


def test_registry_that_is_gone_is_the_services_fault(make_wire, monkeypatch, tmp_path):
    wire = make_wire(registry_that_is_gone(monkeypatch, tmp_path))
    for operation, document in [
        ("DetectCustomLabels", detection(PRODUCTION)),
        ("DetectCustomLabels", detection(wire.version_arn("bolts", "1"))),
        ("DescribeProjects", {}),
    ]:
        told = wire.runner.run(wire.answer(operation, document))
        assert (told.status, told.code) == (500, "InternalServerError")
        assert orjson.loads(told.body)["Message"] == "The service experienced an issue. Try your call again."


class Damaging(Registry):
    """Gives classifiers' bundles away with a damaged head, however often they are fetched."""

    def fetch_bundle(self, model_uri, target):
        bundle = super().fetch_bundle(model_uri, target)
        if (bundle / "head.onnx").exists():
            (bundle / "head.onnx").write_bytes(b"damaged")
        return bundle


@pytest.fixture
def damaged(made, tmp_path):
    return Damaging(Home(tmp_path / "other", made.home.tracking_uri, made.home.registry_uri))


def test_damaged_model_is_the_services_fault(make_wire, damaged):
    wire = make_wire(damaged)
    told = wire.runner.run(wire.answer("DetectCustomLabels", detection(PRODUCTION)))
    assert (told.status, told.code) == (500, "InternalServerError")
    assert wire.detect(wire.version_arn("boxes"))


def test_damaged_model_fails_to_start(make_wire, damaged):
    wire = make_wire(damaged)
    arn = wire.version_arn("bolts", "1")
    assert wire.ask("StartProjectVersion", {"ProjectVersionArn": arn, "MinInferenceUnits": 1}) == {"Status": "STARTING"}
    assert "head.onnx" in wire.wait_until("FAILED", "1")["StatusMessage"]
    assert wire.error("DetectCustomLabels", detection(arn))[0] == "ResourceNotReadyException"


def test_unforeseen_failure_tells_nothing(wire, monkeypatch, caplog):
    def fail(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(wire.projects, "require", fail)
    told = wire.runner.run(wire.answer("DetectCustomLabels", detection(PRODUCTION)))
    assert (told.status, told.code) == (500, "InternalServerError")
    assert b"secret" not in told.body
    assert b"Zero" not in told.body
    assert "secret detail" in caplog.text
