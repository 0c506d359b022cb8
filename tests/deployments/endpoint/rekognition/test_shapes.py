import base64

import orjson
import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.endpoint.rekognition.errors import WireError
from deployments.endpoint.rekognition.operations import OPERATIONS
from deployments.endpoint.rekognition.shapes import read_input, service_model

START = "arn:aws:rekognition:us-east-1:000000000000"
PROJECT = f"{START}:project/bolts/1700000000000"
VERSION = f"{START}:project/bolts/version/3/1700000000000"
IMAGE = {"Bytes": base64.b64encode(b"image").decode()}
DETECT = {"ProjectVersionArn": VERSION, "Image": IMAGE}


MATCH = "satisfy regular expression pattern: "
FEATURES = "satisfy enum value set: [CONTENT_MODERATION, CUSTOM_LABELS]"


def refusal(operation, document):
    with pytest.raises(WireError) as caught:
        read_input(operation, document if isinstance(document, bytes) else orjson.dumps(document))
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("operation", "document", "expected"),
    [
        ("DescribeProjects", {}, {}),
        ("DescribeProjects", {"MaxResults": 100, "Odd": [1]}, {"MaxResults": 100}),
        ("DescribeProjects", {"ProjectNames": None, "NextToken": "é" * 1024}, {"NextToken": "é" * 1024}),
        ("DescribeProjects", {"Features": ["CUSTOM_LABELS"]}, {"Features": ["CUSTOM_LABELS"]}),
        ("DetectCustomLabels", DETECT, {"ProjectVersionArn": VERSION, "Image": {"Bytes": b"image"}}),
        (
            "DetectCustomLabels",
            DETECT | {"MinConfidence": 50, "MaxResults": 0},
            {"MinConfidence": 50.0, "MaxResults": 0},
        ),
        ("DetectCustomLabels", DETECT | {"Image": {}}, {"Image": {}}),
        ("StartProjectVersion", {"ProjectVersionArn": VERSION, "MinInferenceUnits": 2**31 - 1}, {}),
    ],
)
def test_what_fits_is_read(operation, document, expected):
    found = read_input(operation, orjson.dumps(document))
    assert found | expected == found
    assert found.keys() <= {name for name, value in document.items() if value is not None and name != "Odd"}


def test_empty_body_has_no_members():
    assert read_input("DescribeProjects", b"") == {}


PROJECTS, VERSIONS, START_VERSION = "DescribeProjects", "DescribeProjectVersions", "StartProjectVersion"
UNFIT = [
    (PROJECTS, {"MaxResults": 0}, "'0' at 'maxResults'", "have value greater than or equal to 1"),
    (PROJECTS, {"MaxResults": 101}, "'101' at 'maxResults'", "have value less than or equal to 100"),
    (PROJECTS, {"MaxResults": True}, "'True' at 'maxResults'", "be an integer"),
    (PROJECTS, {"MaxResults": 1.0}, "'1.0' at 'maxResults'", "be an integer"),
    (PROJECTS, {"MaxResults": "5"}, "'5' at 'maxResults'", "be an integer"),
    (PROJECTS, {"MaxResults": 2**40}, "'1099511627776' at 'maxResults'", "have at most 32 bits"),
    (PROJECTS, {"NextToken": "x" * 1025}, f"'{'x' * 100}...' at 'nextToken'", "have length less than or equal to 1024"),
    (PROJECTS, {"NextToken": 5}, "'5' at 'nextToken'", "be a string"),
    (PROJECTS, {"ProjectNames": []}, "at 'projectNames'", "have length greater than or equal to 1"),
    (PROJECTS, {"ProjectNames": ["a"] * 11}, "at 'projectNames'", "have length less than or equal to 10"),
    (PROJECTS, {"ProjectNames": "a"}, "'a' at 'projectNames'", "be a list"),
    (PROJECTS, {"ProjectNames": ["a", "b c"]}, "'b c' at 'projectNames.2.member'", MATCH + r"[a-zA-Z0-9_.\-]+"),
    (PROJECTS, {"ProjectNames": ["a\n"]}, "'a\n' at 'projectNames.1.member'", MATCH + r"[a-zA-Z0-9_.\-]+"),
    (PROJECTS, {"Features": ["X"]}, "'X' at 'features.1.member'", FEATURES),
    (VERSIONS, {}, "null at 'projectArn'", "not be null"),
    (VERSIONS, {"ProjectArn": None}, "null at 'projectArn'", "not be null"),
    (VERSIONS, {"ProjectArn": "bolts"}, "'bolts' at 'projectArn'", "have length greater than or equal to 20"),
    (VERSIONS, {"ProjectArn": VERSION}, f"'{VERSION}' at 'projectArn'", MATCH),
    (VERSIONS, {"ProjectArn": PROJECT.replace("0" * 12, "\u0660" * 12)}, "at 'projectArn'", MATCH),
    (START_VERSION, {"ProjectVersionArn": VERSION}, "null at 'minInferenceUnits'", "not be null"),
    ("StopProjectVersion", {"ProjectVersionArn": {}}, "at 'projectVersionArn'", "be a string"),
]
UNFIT_DETECTIONS = [
    ({"MinConfidence": 100.1}, "'100.1' at 'minConfidence'", "have value less than or equal to 100"),
    ({"MinConfidence": -1}, "'-1' at 'minConfidence'", "have value greater than or equal to 0"),
    ({"MinConfidence": False}, "'False' at 'minConfidence'", "be a number"),
    ({"MaxResults": -1}, "'-1' at 'maxResults'", "have value greater than or equal to 0"),
    ({"Image": []}, "at 'image'", "be an object"),
    ({"Image": {"Bytes": ""}}, "at 'image.bytes'", "have length greater than or equal to 1"),
    ({"Image": {"Bytes": "AAAA" * 1_747_627}}, "at 'image.bytes'", "have length less than or equal to 5242880"),
    ({"Image": {"Bytes": [1, 2]}}, "at 'image.bytes'", "be base64 text"),
    (
        {"Image": {"S3Object": {"Bucket": "ab"}}},
        "'ab' at 'image.s3Object.bucket'",
        "have length greater than or equal to 3",
    ),
    ({"Image": {"S3Object": {"Bucket": "a/b"}}}, "'a/b' at 'image.s3Object.bucket'", MATCH),
    (
        {"Image": {"S3Object": {"Name": "x" * 1025}}},
        "at 'image.s3Object.name'",
        "have length less than or equal to 1024",
    ),
]


@pytest.mark.parametrize(
    ("operation", "document", "where", "constraint"),
    [*UNFIT, *(("DetectCustomLabels", DETECT | changed, *said) for changed, *said in UNFIT_DETECTIONS)],
)
def test_what_does_not_fit_is_refused_in_the_services_sentence(operation, document, where, constraint):
    code, message = refusal(operation, document)
    assert code == "ValidationException"
    assert message.startswith("1 validation error detected: Value")
    assert f"{where} failed to satisfy constraint: Member must {constraint}" in message
    assert len(message) < 600


@pytest.mark.parametrize(
    "text", ["aW1hZ2U", "aW1h\nZ2U=", "aW1hZ2U==", "aW1h-2U=", "aW1hZ2U=aW1hZ2U=", "é" * 8, " aW1hZ2U"]
)
def test_base64_is_taken_strictly(text):
    assert refusal("DetectCustomLabels", DETECT | {"Image": {"Bytes": text}}) == (
        "ValidationException",
        "1 validation error detected: Value at 'image.bytes' failed to satisfy constraint: Member must be base64 text",
    )


def test_image_of_the_largest_size_is_taken():
    image = bytes(5_242_880)
    found = read_input(
        "DetectCustomLabels", orjson.dumps(DETECT | {"Image": {"Bytes": base64.b64encode(image).decode()}})
    )
    assert found["Image"]["Bytes"] == image


def test_all_violations_are_told_together():
    code, message = refusal("StartProjectVersion", {"ProjectVersionArn": 5, "MaxInferenceUnits": 0})
    assert code == "ValidationException"
    assert message.startswith("3 validation errors detected: ")
    assert message.count("; Value") == 2


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"[]", b"5", b'"text"', b"null", b"\xff", b"\0", b"[" * 10_000),
        *(b'{"a": NaN}', b'{"a": 1e999}', b'{"NextToken": "\\ud800"}'),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_body_that_is_no_json_object(body):
    code, message = refusal("DescribeProjects", body)
    assert code == "SerializationException"
    assert message.startswith("The body ")


def test_model_is_that_of_the_installed_botocore():
    session = get_session()
    assert service_model().metadata["targetPrefix"] == "RekognitionService"
    assert set(OPERATIONS) <= set(service_model().operation_names)
    assert service_model().operation_names == list(session.get_service_model("rekognition").operation_names)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("ProjectVersionArn", "ProjectArn", "Image", "Bytes", "S3Object", "MaxResults", "MinConfidence", "NextToken"),
        *("VersionNames", "ProjectNames", "Features", "MinInferenceUnits", "MaxInferenceUnits", "Bucket", "Name"),
    ]
)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(OPERATIONS)), st.dictionaries(NAMES, VALUES, max_size=6))
def test_whatever_passes_is_valid_for_botocore_too(operation, document):
    shape = service_model().operation_model(operation).input_shape
    try:
        found = read_input(operation, orjson.dumps(document))
    except WireError:
        return
    assert not ParamValidator().validate(found, shape).has_errors()
