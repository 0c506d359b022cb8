"""The whole of it but the server: a real registry, real models, real states, in an event loop of the test's own."""

import asyncio
import base64
import time
from dataclasses import dataclass, field

import orjson
import pytest
from botocore.validate import ParamValidator

from deployments.endpoint.keys import Key
from deployments.endpoint.limits import BodyReader
from deployments.endpoint.rekognition.errors import wire_error
from deployments.endpoint.rekognition.operations import Context
from deployments.endpoint.rekognition.protocol import answer, error_answer
from deployments.endpoint.rekognition.shapes import service_model
from tasks.serving.errors import ServingError
from tasks.serving.projects import DEFAULT_OWNER, Projects
from tasks.serving.service import PredictionService, ServiceLimits
from tasks.serving.states import VersionStates
from tasks.stores.s3 import ObjectUnreadable
from tests.makers import paint_shape, png_bytes
from tests.tasks.serving.made_registry import MadeRegistry, made_registry

IMAGE = png_bytes(paint_shape("round", 128))
PRODUCTION = "arn:aws:rekognition:us-east-1:000000000000:project/bolts/version/production/7"
HEADERS = {"Content-Type": "application/x-amz-json-1.1"}


@dataclass
class Wire:
    """Asks as a client does; `objects` is what lies in the S3 store."""

    made: MadeRegistry
    states: VersionStates
    service: PredictionService
    projects: Projects
    runner: asyncio.Runner
    objects: dict = field(default_factory=dict)
    bodies: BodyReader = field(default_factory=lambda: BodyReader(100_000_000))
    max_image_bytes: int = 15_000_000

    def read_object(self, bucket, key, version=None, *, max_bytes):
        found = self.objects.get((bucket, key, version))
        if callable(found):
            found = found(max_bytes)
        if isinstance(found, Exception):
            raise found
        if found is None:
            raise ObjectUnreadable(f"s3://{bucket}/{key} cannot be read: there is no such object")
        assert len(found) <= max_bytes
        return found

    def context(self, projects="*"):
        key = Key("someone", "s" * 20, projects)
        reserved = self.bodies.reserved
        return Context(self.projects, self.service, key, self.read_object, reserved, self.max_image_bytes)

    async def answer(self, operation, document, *, key="*", headers=None):
        target = {"X-Amz-Target": f"RekognitionService.{operation}"}
        if isinstance(document, dict | list):
            document = orjson.dumps(document)
        body = document if isinstance(document, bytearray) else bytearray(document)
        try:
            with self.service.admit():  # as the server does, before it reads the body
                return await answer(HEADERS | target if headers is None else headers, body, self.context(key))
        except ServingError as error:
            told = wire_error(error)
            return error_answer(told.code, told.message)

    def ask(self, operation, document, **options):
        """Return the members of an answer that must be good, and as the service's model has it."""
        told = self.runner.run(self.answer(operation, document, **options))
        members = orjson.loads(told.body)
        assert told.status == 200, members
        shape = service_model().operation_model(operation).output_shape
        assert not ParamValidator().validate(members, shape).has_errors()
        return members

    def error(self, operation, document, **options):
        """Return the code and the message of an answer that must be an error in the service's form."""
        told = self.runner.run(self.answer(operation, document, **options))
        members = orjson.loads(told.body)
        assert members.keys() == {"__type", "Code", "Logref", "Message"}
        assert members["__type"] == members["Code"] == told.code
        assert told.status in (400, 500)
        assert told.headers["x-amzn-requestid"] == members["Logref"]
        return members["Code"], members["Message"]

    def detect(self, arn, image=IMAGE, **members):
        """Return the labels found in an image."""
        return self.ask("DetectCustomLabels", detection(arn, image, **members))["CustomLabels"]

    def version_arn(self, name="bolts", qualifier="production"):
        infos = {"bolts": self.made.bolts, "boxes": [self.made.boxes]}[name]
        made_ms = next((info.created_ms for info in infos if info.version == qualifier), 7)
        return f"{DEFAULT_OWNER}:project/{name}/version/{qualifier}/{made_ms}"

    def project_arn(self, name="bolts"):
        model = next(one for one in self.made.registry.models() if one.name == name)
        return f"{DEFAULT_OWNER}:project/{name}/{model.created_ms}"

    def versions(self, *names, project="bolts"):
        asked = {"ProjectArn": self.project_arn(project)} | ({"VersionNames": names} if names else {})
        return self.ask("DescribeProjectVersions", asked)["ProjectVersionDescriptions"]

    def wait_until(self, status, qualifier, seconds=20):
        """Describe, as a waiter does, until a version of bolts has a status."""
        end = time.monotonic() + seconds
        while (found := self.versions(qualifier)[0])["Status"] != status:
            assert time.monotonic() < end, found
            self.runner.run(asyncio.sleep(0.02))
        return found


def detection(arn, image=IMAGE, **members):
    return {"ProjectVersionArn": arn, "Image": {"Bytes": base64.b64encode(image).decode()}, **members}


@pytest.fixture(scope="session")
def made():
    return made_registry()


@pytest.fixture
def make_wire(made, tmp_path):
    """Make an endpoint on a registry; `limits` are the service's."""
    wires = []

    def make(registry=None, **limits):
        registry = registry or made.registry
        states = VersionStates(f"sqlite:///{tmp_path / 'states.db'}")
        service = PredictionService(registry, states, ServiceLimits(**limits))
        wires.append(Wire(made, states, service, Projects(registry, states, service), asyncio.Runner()))
        return wires[-1]

    yield make
    for wire in wires:
        wire.runner.run(wire.projects.transitions.aclose())
        wire.runner.run(wire.service.aclose())
        wire.runner.close()
        wire.states.close()


@pytest.fixture
def wire(make_wire):
    return make_wire()
