"""boto3 as it is, its requests handed over without a network: the real server is tested with it elsewhere."""

import io
import time
from datetime import UTC, datetime

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from deployments.endpoint.rekognition.protocol import answer
from tests.deployments.endpoint.rekognition.conftest import IMAGE, PRODUCTION


class Raw(io.BytesIO):
    def stream(self, **_):
        return iter([self.read()])


@pytest.fixture
def client(wire):
    def hand_over(request, **_):
        headers = {name: value if isinstance(value, str) else value.decode() for name, value in request.headers.items()}
        told = wire.runner.run(answer(headers, bytearray(request.body), wire.context()))
        return AWSResponse(request.url, told.status, told.headers, Raw(told.body))

    found = boto3.client(
        "rekognition",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="someone",
        aws_secret_access_key="s" * 20,
        config=Config(retries={"total_max_attempts": 1}),
    )
    found.meta.events.register("before-send.rekognition", hand_over)
    return found


def test_labels_are_detected(client):
    found = client.detect_custom_labels(ProjectVersionArn=PRODUCTION, Image={"Bytes": IMAGE}, MinConfidence=20)
    assert found["CustomLabels"] == [{"Name": "good", "Confidence": 87.5}, {"Name": "bent", "Confidence": 50.0}]
    assert len(found["ResponseMetadata"]["RequestId"]) == 36


def test_version_is_started_waited_for_and_stopped(client, wire):
    (project,) = client.describe_projects(ProjectNames=["bolts"])["ProjectDescriptions"]
    assert abs(datetime.now(UTC) - project["CreationTimestamp"]).total_seconds() < 3600
    arn = wire.version_arn("bolts", "1")
    with pytest.raises(client.exceptions.ResourceNotReadyException):
        client.detect_custom_labels(ProjectVersionArn=arn, Image={"Bytes": IMAGE})
    assert client.start_project_version(ProjectVersionArn=arn, MinInferenceUnits=1)["Status"] == "STARTING"
    client.get_waiter("project_version_running").wait(
        ProjectArn=project["ProjectArn"], VersionNames=["1"], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    assert client.detect_custom_labels(ProjectVersionArn=arn, Image={"Bytes": IMAGE})["CustomLabels"]
    with pytest.raises(client.exceptions.ResourceInUseException):
        client.start_project_version(ProjectVersionArn=arn, MinInferenceUnits=1)
    assert client.stop_project_version(ProjectVersionArn=arn)["Status"] == "STOPPING"


def test_waiter_ends_when_the_start_fails(client, wire, made):
    start = time.monotonic()
    wire.states.move("bolts", "2", {None}, "FAILED", message="no memory")
    with pytest.raises(WaiterError, match="FAILED"):
        client.get_waiter("project_version_running").wait(
            ProjectArn=wire.project_arn(), VersionNames=["2"], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
    assert time.monotonic() - start < 20


def test_paginators_go_through_all_pages(client, wire):
    pages = client.get_paginator("describe_project_versions").paginate(
        ProjectArn=wire.project_arn(), PaginationConfig={"PageSize": 1}
    )
    arns = [one["ProjectVersionArn"] for page in pages for one in page["ProjectVersionDescriptions"]]
    assert arns == [wire.version_arn("bolts", number) for number in "321"]


@pytest.mark.parametrize(
    ("arn", "image", "name"),
    [
        (PRODUCTION.replace("bolts", "nobody"), IMAGE, "ResourceNotFoundException"),
        (PRODUCTION, b"GIF89a", "InvalidImageFormatException"),
    ],
)
def test_errors_are_typed(arn, image, name, client):
    with pytest.raises(getattr(client.exceptions, name)) as caught:
        client.detect_custom_labels(ProjectVersionArn=arn, Image={"Bytes": image})
    assert caught.value.response["Error"]["Code"] == name
    assert caught.value.response["Error"]["Message"]


def test_shape_violation_is_a_client_error(client):
    with pytest.raises(ClientError, match="1 validation error detected") as caught:
        client.describe_projects(ProjectNames=["two words"])
    assert caught.value.response["Error"]["Code"] == "ValidationException"
