import struct
import threading
import time
import zlib

import numpy as np
import orjson
import pytest
from PIL import Image

from deployments.endpoint.rekognition import operations, protocol
from tasks.stores.s3 import ObjectTooLarge, ObjectUnreadable
from tests.deployments.endpoint.rekognition.conftest import IMAGE, PRODUCTION, detection
from tests.makers import image_bytes, jpeg_bytes, paint_shape, png_bytes


def test_classifiers_answer(wire):
    expected = [{"Name": "bent", "Confidence": 50.0}, {"Name": "cut", "Confidence": 12.5}]
    assert wire.detect(wire.version_arn()) == expected


def test_detectors_answer_has_boxes_as_ratios(wire):
    dent, hole = wire.detect(wire.version_arn("boxes"))
    assert (dent["Name"], hole["Name"]) == ("dent", "hole")
    assert dent["Confidence"] == pytest.approx(90, abs=1e-4)
    expected = {"Left": 48 / 128, "Top": 16 / 128, "Width": 32 / 128, "Height": 32 / 128}
    assert dent["Geometry"] == {"BoundingBox": pytest.approx(expected, abs=1e-6)}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"MinConfidence": 0}, ["good", "bent", "cut"]),
        ({"MinConfidence": 50}, ["good", "bent"]),
        ({"MinConfidence": 50.001}, ["good"]),
        ({"MinConfidence": 100}, []),
        ({"MaxResults": 1}, ["bent"]),
        ({"MaxResults": 0}, ["bent", "cut"]),
        ({"MaxResults": 99, "MinConfidence": 12.5}, ["good", "bent", "cut"]),
        ({"MinConfidence": None, "MaxResults": None}, ["bent", "cut"]),
    ],
    ids=str,
)
def test_what_is_told_is_what_was_asked_for(asked, expected, wire):
    assert [one["Name"] for one in wire.detect(wire.version_arn(), **asked)] == expected


def test_boxes_below_their_threshold_are_told_on_request(wire):
    assert [one["Name"] for one in wire.detect(wire.version_arn("boxes"), MinConfidence=20)] == ["dent", "hole", "cut"]


def test_answer_says_which_version_it_is_of(wire):
    told = wire.runner.run(wire.answer("DetectCustomLabels", detection(wire.version_arn())))
    assert (told.status, told.operation, told.model, told.version) == (200, "DetectCustomLabels", "bolts", "3")
    assert told.headers["content-type"] == "application/x-amz-json-1.1"
    assert (
        told.headers["x-amzn-requestid"]
        != wire.runner.run(wire.answer("DescribeProjects", {})).headers["x-amzn-requestid"]
    )


@pytest.mark.parametrize("side", [1, 63, 5000])
def test_sides_and_aspects_that_training_refuses_are_taken(side, wire):
    image = png_bytes(np.full((side, side // 50 + 1, 3), 90, np.uint8))
    assert len(wire.detect(wire.version_arn(), image)) == 2


def test_jpeg_is_taken_too(wire):
    assert len(wire.detect(wire.version_arn(), jpeg_bytes(paint_shape("round", 64)))) == 2


def test_image_in_s3_is_read(wire):
    wire.objects = {("images", "a/b.png", None): IMAGE, ("images", "a/b.png", "v2"): b"GIF89a"}
    place = {"Bucket": "images", "Name": "a/b.png"}
    found = wire.ask("DetectCustomLabels", {"ProjectVersionArn": PRODUCTION, "Image": {"S3Object": place}})
    assert [one["Name"] for one in found["CustomLabels"]] == ["bent", "cut"]
    versioned = {"ProjectVersionArn": PRODUCTION, "Image": {"S3Object": place | {"Version": "v2"}}}
    assert wire.error("DetectCustomLabels", versioned)[0] == "InvalidImageFormatException"


def in_s3(name="x.png"):
    return {"ProjectVersionArn": PRODUCTION, "Image": {"S3Object": {"Bucket": "images", "Name": name}}}


@pytest.mark.parametrize(
    ("max_image_bytes", "reserved"),
    [pytest.param(1_000_000, 1_000_000, id="the endpoint's"), pytest.param(90_000_000, 15_728_640, id="the service's")],
)
def test_image_in_s3_takes_part_in_the_memory_of_bodies(wire, max_image_bytes, reserved):
    wire.max_image_bytes, seen = max_image_bytes, []

    def read(max_bytes):
        seen.append((max_bytes, wire.bodies.held_bytes))
        return IMAGE

    wire.objects = {("images", "x.png", None): read}
    wire.ask("DetectCustomLabels", in_s3())
    assert seen == [(reserved, reserved)]
    assert wire.bodies.held_bytes == 0
    with wire.bodies.reserved(100_000_000 - reserved + 1):
        assert wire.error("DetectCustomLabels", in_s3())[0] == "ProvisionedThroughputExceededException"
    assert len(seen) == 1


def test_image_in_s3_that_trickles_is_given_up(wire, monkeypatch):
    monkeypatch.setattr(operations, "OBJECT_SECONDS", 0.05)
    release = threading.Event()
    wire.objects = {("images", "x.png", None): lambda _: IMAGE if release.wait(20) else b""}
    began = time.monotonic()
    try:
        assert wire.error("DetectCustomLabels", in_s3())[0] == "InvalidS3ObjectException"
        assert time.monotonic() - began < 15
        assert wire.bodies.held_bytes == 0
    finally:
        release.set()


@pytest.mark.parametrize("more", [pytest.param(0, id="small"), pytest.param(400_000, id="large")])
def test_request_is_let_go_once_it_is_read(wire, more):
    body = bytearray(orjson.dumps(detection(PRODUCTION, IMAGE + bytes(more))))
    assert len(wire.ask("DetectCustomLabels", body)["CustomLabels"]) == 2
    assert not body


def test_large_request_is_read_in_a_thread(wire, monkeypatch):
    in_main_thread, read_input = [], protocol.read_input

    def watched(operation, body):
        in_main_thread.append(threading.current_thread() is threading.main_thread())
        return read_input(operation, body)

    monkeypatch.setattr(protocol, "read_input", watched)
    for more in (0, 400_000):
        wire.detect(PRODUCTION, IMAGE + bytes(more))
    assert in_main_thread == [True, False]


STANDARD_S3 = "Unable to get object metadata from S3. Check object key, region and/or access permissions."
PARAMETER, FORMAT, TOO_LARGE, S3 = (
    *("InvalidParameterException", "InvalidImageFormatException", "ImageTooLargeException"),
    "InvalidS3ObjectException",
)
NEITHER, NO_PLACE = "either Bytes or S3Object", "Bucket and Name"


def png_header(width, height):
    """Return a PNG that claims a size and holds hardly a pixel."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(9))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def s3(**place):
    return {"ProjectVersionArn": PRODUCTION, "Image": {"S3Object": {"Bucket": "images", "Name": "x.png"} | place}}


@pytest.mark.parametrize(
    ("document", "code", "said"),
    [
        pytest.param({"Image": {}}, PARAMETER, NEITHER, id="no image"),
        pytest.param({"Image": {"Bytes": "AA==", **s3()["Image"]}}, PARAMETER, NEITHER, id="two images"),
        pytest.param({"Image": {"S3Object": {"Name": "x"}}}, PARAMETER, NO_PLACE, id="no bucket"),
        pytest.param({"Image": {"S3Object": {"Bucket": "abc"}}}, PARAMETER, NO_PLACE, id="no name"),
        pytest.param(s3(), S3, STANDARD_S3, id="no such object"),
        pytest.param(s3(Name="denied"), S3, STANDARD_S3, id="store refuses"),
        pytest.param(s3(Name="large"), TOO_LARGE, "Image size is too large.", id="large object"),
        pytest.param(s3(Name="gif"), FORMAT, "Send a PNG or JPEG file.", id="GIF in S3"),
        pytest.param({"MinConfidence": 101}, "ValidationException", "'minConfidence'", id="shape"),
    ],
)
def test_request_is_refused(document, code, said, wire):
    wire.objects = {
        ("images", "denied", None): ObjectUnreadable("s3://images/denied cannot be read: secret"),
        ("images", "large", None): ObjectTooLarge("s3://images/large has more than 15728640 bytes"),
        ("images", "gif", None): b"GIF89a",
    }
    told, message = wire.error("DetectCustomLabels", detection(PRODUCTION) | document)
    assert told == code
    assert said in message
    assert "secret" not in message


PICTURE = Image.fromarray(paint_shape("round", 64))


@pytest.mark.parametrize(
    ("image", "code"),
    [
        pytest.param(b"GIF89a" + bytes(99), FORMAT, id="GIF"),
        pytest.param(image_bytes(PICTURE, "BMP"), FORMAT, id="BMP, which we could read"),
        pytest.param(image_bytes(PICTURE, "WEBP"), FORMAT, id="WebP, which we could read"),
        pytest.param(b"\0", FORMAT, id="one byte"),
        pytest.param(IMAGE[:200], FORMAT, id="cut short"),
        pytest.param(b"\xff\xd8\xff" + bytes(99), FORMAT, id="JPEG in name only"),
        pytest.param(png_header(64, 64), FORMAT, id="PNG without pixels"),
        pytest.param(png_header(100_000, 100_000), TOO_LARGE, id="bomb"),
    ],
)
def test_image_is_refused(image, code, wire):
    told, message = wire.error("DetectCustomLabels", detection(PRODUCTION, image))
    assert told == code
    assert message.startswith(("Request has invalid image format. ", "Image size is too large. "))
    assert wire.detect(PRODUCTION)  # nobody else has to pay for it


def test_too_many_bytes_for_this_endpoint(make_wire):
    wire = make_wire(max_image_bytes=100)
    assert wire.error("DetectCustomLabels", detection(PRODUCTION))[0] == "ImageTooLargeException"
