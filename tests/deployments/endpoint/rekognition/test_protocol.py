import asyncio
import base64

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.endpoint.rekognition.operations import OPERATIONS
from deployments.endpoint.rekognition.protocol import MAX_BODY_BYTES, error_answer
from tests.deployments.endpoint.rekognition.conftest import HEADERS, IMAGE, PRODUCTION, detection


@pytest.mark.parametrize(
    "target",
    [
        *(
            None,
            "",
            "RekognitionService",
            "RekognitionService.",
            "DetectCustomLabels",
            "RekognitionService.DetectFaces",
        ),
        *("RekognitionService.Nonsense", "rekognitionservice.DescribeProjects"),
        *("DynamoDB_20120810.ListTables", "é" * 5000),
    ],
)
def test_unknown_target_is_told_what_is_served(target, wire):
    headers = HEADERS | ({} if target is None else {"X-Amz-Target": target})
    code, message = wire.error("", {}, headers=headers)
    assert code == "UnknownOperationException"
    assert all(operation in message for operation in OPERATIONS)
    assert len(message) < 400


@pytest.mark.parametrize(
    ("content_type", "is_read"),
    [
        ("application/x-amz-json-1.1", True),
        ("application/x-amz-json-1.1; charset=utf-8", True),
        ("Application/X-Amz-JSON-1.1", True),
        ("application/x-amz-json-1.0", False),
        ("application/json", False),
        ("text/plain", False),
        ("", False),
        (None, False),
    ],
)
def test_content_type(content_type, is_read, wire):
    headers = {"x-amz-target": "RekognitionService.DescribeProjects"}
    headers |= {} if content_type is None else {"CONTENT-TYPE": content_type}
    if is_read:
        assert "ProjectDescriptions" in wire.ask("DescribeProjects", {}, headers=headers)
    else:
        code, message = wire.error("DescribeProjects", {}, headers=headers)
        assert code == "SerializationException"
        assert "send application/x-amz-json-1.1" in message


def test_error_is_written_as_the_service_does():
    told = error_answer("UnrecognizedClientException", "The security token included in the request is invalid.")
    members = orjson.loads(told.body)
    assert told.status == 400
    assert members == {
        "__type": "UnrecognizedClientException",
        "Code": "UnrecognizedClientException",
        "Logref": told.headers["x-amzn-requestid"],
        "Message": "The security token included in the request is invalid.",
    }


def test_largest_image_fits_in_a_body():
    assert len(orjson.dumps(detection("x" * 2048, bytes(5_242_880), MaxResults=5))) < MAX_BODY_BYTES


def test_many_at_once_are_all_answered(wire):
    async def ask():
        answers = [wire.answer("DetectCustomLabels", detection(PRODUCTION)) for _ in range(20)]
        bad = [wire.answer("DetectCustomLabels", detection(PRODUCTION, b"GIF")) for _ in range(20)]
        return await asyncio.gather(*answers), await asyncio.gather(*bad)

    answers, refusals = wire.runner.run(ask())
    assert {one.status for one in answers} == {200}
    assert {one.code for one in refusals} == {"InvalidImageFormatException"}


NAMES = st.sampled_from(
    [
        *("ProjectVersionArn", "ProjectArn", "Image", "MaxResults", "MinConfidence", "NextToken", "VersionNames"),
        *("ProjectNames", "Features", "MinInferenceUnits", "MaxInferenceUnits"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=20)
ARNS = st.sampled_from(
    [PRODUCTION, PRODUCTION.replace("/version/production", ""), PRODUCTION.replace("production", "1")]
)
IMAGES = st.fixed_dictionaries({}, optional={
    "Bytes": st.binary(max_size=40).map(lambda data: base64.b64encode(IMAGE[:60] + data).decode()) | LEAVES,
    "S3Object": st.dictionaries(st.sampled_from(["Bucket", "Name", "Version"]), st.text(max_size=9) | LEAVES),
})  # fmt: skip
VALUES = LEAVES | ARNS | IMAGES | st.lists(LEAVES | ARNS, max_size=3) | st.dictionaries(st.text(max_size=5), LEAVES)
BODIES = st.dictionaries(NAMES, VALUES).map(orjson.dumps) | st.binary(max_size=60)
HEADER_NAMES = st.sampled_from(["X-Amz-Target", "content-type", "Authorization"]) | st.text(max_size=9)
TARGETS = st.sampled_from(sorted(OPERATIONS)).map("RekognitionService.{}".format)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES, st.dictionaries(HEADER_NAMES, st.text(max_size=20)), TARGETS, st.booleans())
def test_nothing_that_is_sent_breaks_it(wire, body, headers, target, is_plain):
    usual = HEADERS | {"X-Amz-Target": target}
    told = wire.runner.run(wire.answer("", body, headers=usual if is_plain else usual | headers))
    assert told.status in (200, 400)
    members = orjson.loads(told.body)
    assert told.status == 200 or (members["Code"] == told.code and members["Message"])
    assert b"Traceback" not in told.body
