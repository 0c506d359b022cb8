import hashlib
import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from deployments.endpoint.keys import Key
from deployments.endpoint.sigv4 import SignatureRefused, SignedRequest, verify
from tests.deployments.endpoint.signing import (
    BODY,
    EARLY,
    HEADERS,
    KEY,
    KEYS,
    MISMATCH,
    NOW,
    REGION,
    check,
    header,
    refusal,
    sign,
    with_header,
)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(sign(), id="as signed"),
        pytest.param(sign(body=b""), id="empty body"),
        pytest.param(
            sign({**HEADERS, "user-agent": "java/1", "amz-sdk-request": "attempt=1"}), id="more headers signed"
        ),
        pytest.param(sign(sent=[("via", "a"), ("via", "b"), ("x-forwarded-for", "1.2.3.4")]), id="a proxy in between"),
        pytest.param(sign({**HEADERS, "content-type": None}), id="no content type"),
        pytest.param(
            sign({**HEADERS, "x-amz-content-sha256": hashlib.sha256(BODY).hexdigest()}), id="body digest signed"
        ),
        pytest.param(sign(sent=[("x-amz-content-sha256", hashlib.sha256(BODY).hexdigest())]), id="body digest told"),
        pytest.param(sign({**HEADERS, "x-amz-date": None, "date": format_datetime(NOW, usegmt=True)}), id="Date"),
        pytest.param(
            sign({**HEADERS, "x-amz-date": None, "date": "Wed, 04 Mar 2026 07:06:07 +0200"}), id="Date of another zone"
        ),
        pytest.param(sign(at=NOW - timedelta(seconds=300)), id="oldest"),
        pytest.param(sign(at=NOW + timedelta(seconds=300)), id="newest"),
    ],
)
def test_what_the_specification_signs_is_taken(request_):
    assert check(request_) is KEY


def test_header_names_have_no_case():
    request = sign()
    capitals = [(name.title(), value) for name, value in request.headers]
    assert check(replace(request, headers=capitals)) is KEY


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        pytest.param(
            SignedRequest("POST", "/", "", list(HEADERS.items()), BODY),
            "MissingAuthenticationTokenException",
            "Request is missing Authentication Token",
            id="not signed",
        ),
        pytest.param(
            with_header(sign(), "authorization", "Basic Y2xpZW50LW9uZTpzZWNyZXQ="),
            "MissingAuthenticationTokenException",
            "Request is missing Authentication Token",
            id="HTTP Basic",
        ),
        pytest.param(
            with_header(sign(), "authorization", header(sign(), "authorization").replace("HMAC", "ECDSA-P256")),
            "IncompleteSignatureException",
            "sign with AWS4-HMAC-SHA256",
            id="another algorithm",
        ),
        pytest.param(
            with_header(sign(), "authorization", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request"),
            "IncompleteSignatureException",
            "requires 'SignedHeaders' parameter. Authorization header requires 'Signature'",
            id="parts missing",
        ),
        pytest.param(
            with_header(sign(), "authorization", header(sign(), "authorization") + ", Signature=00"),
            "IncompleteSignatureException",
            "one of them twice",
            id="part twice",
        ),
        pytest.param(
            with_header(sign(), "authorization", header(sign(), "authorization").replace("/aws4_request", "")),
            "IncompleteSignatureException",
            "exactly 5 elements",
            id="short scope",
        ),
        pytest.param(
            replace(sign(), query="X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"),
            "IncompleteSignatureException",
            "presigned addresses are not served",
            id="presigned",
        ),
        pytest.param(replace(sign(), path="/#/"), "InvalidSignatureException", "without a path", id="path"),
        pytest.param(
            sign({**HEADERS, "x-amz-date": "2026-03-04T05:06:07Z"}),
            "IncompleteSignatureException",
            "'X-Amz-Date'",
            id="date of another form",
        ),
        pytest.param(
            sign({**HEADERS, "x-amz-date": "20261304T050607Z"}),
            "IncompleteSignatureException",
            "'X-Amz-Date'",
            id="thirteenth month",
        ),
        pytest.param(
            sign({**HEADERS, "x-amz-date": "20260304T05067Z"}),
            "IncompleteSignatureException",
            "'X-Amz-Date'",
            id="second of one digit",
        ),
        pytest.param(
            sign({**HEADERS, "x-amz-date": None, "date": "yesterday"}),
            "IncompleteSignatureException",
            "'Date' header",
            id="unreadable Date",
        ),
        pytest.param(
            sign({**HEADERS, "x-amz-date": None}), "IncompleteSignatureException", "requires existence", id="no date"
        ),
        pytest.param(
            sign(region="us-east-1"),
            "InvalidSignatureException",
            "valid region, not 'us-east-1': use 'eu-central-1'",
            id="region",
        ),
        pytest.param(sign(service="s3"), "InvalidSignatureException", "correct service: 'rekognition'", id="service"),
        pytest.param(
            with_header(sign(), "authorization", header(sign(), "authorization").replace("/aws4_", "/aws5_")),
            "InvalidSignatureException",
            "valid terminator: 'aws4_request'",
            id="terminator",
        ),
        pytest.param(
            sign(date="20260303"), "InvalidSignatureException", "'20260303' != '20260304'", id="scope of another day"
        ),
        pytest.param(
            sign(at=NOW - timedelta(seconds=301)),
            "InvalidSignatureException",
            "Signature expired: 20260304T050106Z is now earlier than 20260304T050107Z (20260304T050607Z - 5 min.)",
            id="too old",
        ),
        pytest.param(
            sign(at=NOW + timedelta(seconds=301)),
            "InvalidSignatureException",
            EARLY + ": 20260304T051108Z",
            id="too new",
        ),
        pytest.param(
            sign(key=Key("nobody", "secret-secret-secret-1")),
            "UnrecognizedClientException",
            "security token included in the request is invalid",
            id="unknown key",
        ),
        pytest.param(
            sign({**HEADERS, "x-amz-security-token": "session"}),
            "UnrecognizedClientException",
            "security token included in the request is invalid",
            id="session token",
        ),
        pytest.param(
            sign(key=Key(KEY.access_key_id, "another-secret-secret")),
            "InvalidSignatureException",
            MISMATCH,
            id="secret",
        ),
        pytest.param(
            with_header(sign(), "authorization", header(sign(), "authorization")[:-64] + "é" * 64),
            "InvalidSignatureException",
            MISMATCH,
            id="signature that is no ASCII",
        ),
        pytest.param(replace(sign(), method="PUT"), "InvalidSignatureException", MISMATCH, id="method"),
        pytest.param(
            sign({**HEADERS, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}),
            "InvalidSignatureException",
            "is not the SHA-256 of the body",
            id="body not signed",
        ),
        pytest.param(
            sign(sent=[("x-amz-content-sha256", hashlib.sha256(b"other").hexdigest())]),
            "InvalidSignatureException",
            "is not the SHA-256 of the body",
            id="digest of another body",
        ),
        pytest.param(
            sign({**HEADERS, "x-absent": "1"}, sent=[("x-absent", "2")]),
            "InvalidSignatureException",
            "did not arrive",
            id="signed header twice",
        ),
        pytest.param(
            sign(signed=["x-amz-target", "host", "content-type", "x-amz-date"]),
            "InvalidSignatureException",
            "sorted",
            id="signed headers unsorted",
        ),
    ],
)
def test_refusals(request_, code, words):
    refused = refusal(request_)
    assert refused.code == code
    assert words in refused.message


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-target", "content-type"])
def test_what_shapes_the_answer_must_be_signed(name):
    names = sorted({*HEADERS, "x-amz-date"} - {name})
    refused = refusal(sign(signed=names))
    assert (refused.code, refused.message) == (
        "InvalidSignatureException",
        f"'{name}' must be a 'SignedHeader' in the AWS Authorization.",
    )


def test_date_must_be_signed_where_it_stands_for_the_other():
    headers = {**HEADERS, "x-amz-date": None, "date": format_datetime(NOW, usegmt=True)}
    assert "'date' must be a 'SignedHeader'" in refusal(sign(headers, signed=sorted(HEADERS))).message


def test_every_digit_of_the_signature_counts():
    text = header(sign(), "authorization")
    for position in range(len(text) - 64, len(text)):
        digit = "1" if text[position] == "0" else "0"
        changed = text[:position] + digit + text[position + 1 :]
        assert MISMATCH in refusal(with_header(sign(), "authorization", changed)).message


@pytest.mark.parametrize("name", ["authorization", "content-type", "host", "x-amz-date", "x-amz-target"])
def test_header_that_shapes_the_signature_comes_once(name):
    request = sign()
    twice = replace(request, headers=[*request.headers, (name.upper(), header(request, name))])
    assert refusal(twice).message == f"The header {name} is there 2 times; send it once."


@pytest.mark.parametrize("lost", ["host", "content-type", "x-amz-target"])
def test_signed_header_that_did_not_arrive(lost):
    request = sign()
    rest = [(name, value) for name, value in request.headers if name != lost]
    assert "did not arrive" in refusal(replace(request, headers=rest)).message


def test_allowed_skew_is_the_callers():
    late = NOW + timedelta(seconds=61)
    assert check(sign(), now=late, max_skew_seconds=61) is KEY
    assert "(20260304T050708Z - 1 min.)" in refusal(sign(), now=late, max_skew_seconds=60).message


def test_boto3_signs_what_is_taken():
    arrived = []

    def intercept(request, **_):
        arrived.append(request)
        return AWSResponse(request.url, 200, {"content-type": "application/x-amz-json-1.1"}, Answer())

    client = boto3.client(
        "rekognition",
        region_name=REGION,
        endpoint_url="http://localhost:8080",
        aws_access_key_id=KEY.access_key_id,
        aws_secret_access_key=KEY.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.meta.events.register("before-send.rekognition.*", intercept)
    client.describe_projects(ProjectNames=["bolts"])
    sent = arrived[0]
    headers = [(name, value.decode() if isinstance(value, bytes) else value) for name, value in sent.headers.items()]
    request = SignedRequest(sent.method, "/", "", [*headers, ("Host", "localhost:8080")], sent.body)
    assert verify(request, KEYS, region=REGION, now=datetime.now(UTC)) is KEY
    other = replace(request, body=json.dumps({"ProjectNames": ["nuts"]}).encode())
    with pytest.raises(SignatureRefused, match=MISMATCH):
        verify(other, KEYS, region=REGION, now=datetime.now(UTC))


class Answer:
    """The body of an empty answer, as urllib3 gives it."""

    def stream(self, **_):
        yield b"{}"


def test_secrets_are_told_nowhere(caplog):
    caplog.set_level(logging.DEBUG)
    check(sign())
    refusal(replace(sign(), body=b"other"))
    told = f"{caplog.text} {KEY!r} {KEYS!r} {sign()!r}"
    assert KEY.secret_access_key not in told
    assert header(sign(), "authorization")[-64:] not in told
