import hashlib
import hmac
import json
import logging
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.endpoint.keys import Key, Keys
from deployments.endpoint.sigv4 import SignatureRefused, SignedRequest, verify

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
REGION = "eu-central-1"
KEY = Key("client-one", "secret-secret-secret-1", ("bolts",))
KEYS = Keys({KEY.access_key_id: KEY})
BODY = b'{"ProjectVersionArn": "arn", "Image": {"Bytes": "AAAA"}}'
HEADERS = {
    "host": "localhost:8080",
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": "RekognitionService.DetectCustomLabels",
}
MISMATCH, EXPIRED, EARLY = "does not match the signature", "Signature expired", "Signature not yet current"


def stamp(moment):
    return moment.strftime("%Y%m%dT%H%M%SZ")


def sign(
    headers=HEADERS,
    body=BODY,
    *,
    key=KEY,
    at=NOW,
    region=REGION,
    service="rekognition",
    date=None,
    signed=None,
    sent=(),
):
    """Sign as the specification says, without botocore; `sent` are headers that travel without being signed."""
    headers = {"x-amz-date": stamp(at), **headers}
    headers = {name: value for name, value in headers.items() if value is not None}
    names = sorted(headers) if signed is None else signed
    scope = f"{date or stamp(at)[:8]}/{region}/{service}/aws4_request"
    canonical = "\n".join(
        [
            *("POST", "/", ""),
            *(f"{name}:{headers[name].strip()}" for name in names),
            *("", ";".join(names), headers.get("x-amz-content-sha256", hashlib.sha256(body).hexdigest())),
        ]
    )
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp(at), scope, hashlib.sha256(canonical.encode()).hexdigest()])
    secret = b"AWS4" + key.secret_access_key.encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.digest(secret, to_sign.encode(), "sha256").hex()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={key.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return SignedRequest("POST", "/", "", [*headers.items(), *sent, ("authorization", authorization)], body)


def with_header(request, name, value):
    return replace(request, headers=[(one, value if one == name else old) for one, old in request.headers])


def header(request, name):
    return dict(request.headers)[name]


def check(request, **settings):
    return verify(request, KEYS, region=REGION, now=settings.pop("now", NOW), **settings)


CODES = {
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}


def refusal(request, **settings):
    with pytest.raises(SignatureRefused) as refused:
        check(request, **settings)
    assert KEY.secret_access_key not in refused.value.message
    return refused.value


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


VISIBLE = st.sampled_from(string.digits + string.ascii_letters + string.punctuation)
CHANGED_TEXTS = ["host", "content-type", "x-amz-target", "x-amz-date", "authorization"]


@given(position=st.integers(min_value=0), value=st.integers(1, 255))
@settings(max_examples=50, deadline=None)
def test_any_changed_byte_of_the_body_is_refused(position, value):
    body = bytearray(BODY)
    body[position % len(body)] ^= value
    assert MISMATCH in refusal(replace(sign(), body=bytes(body))).message


@given(cut=st.integers(0, len(BODY) - 1), extra=st.binary(min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_cut_and_lengthened_bodies_are_refused(cut, extra):
    assert MISMATCH in refusal(replace(sign(), body=BODY[:cut])).message
    assert MISMATCH in refusal(replace(sign(), body=BODY + extra)).message


@pytest.mark.parametrize("name", CHANGED_TEXTS)
@given(position=st.integers(min_value=0), character=VISIBLE)
@settings(max_examples=50, deadline=None)
def test_any_changed_character_of_a_signed_header_is_refused(name, position, character):
    request = sign()
    text = header(request, name)
    position %= len(text)
    changed = text[:position] + character + text[position + 1 :]
    if changed != text:
        assert refusal(with_header(request, name, changed)).code in CODES


@given(
    position=st.integers(min_value=0), character=VISIBLE, part=st.sampled_from(["access_key_id", "secret_access_key"])
)
@settings(max_examples=50, deadline=None)
def test_any_changed_character_of_the_key_is_refused(position, character, part):
    text = getattr(KEY, part)
    position %= len(text)
    changed = text[:position] + character + text[position + 1 :]
    if changed != text:
        code = "InvalidSignatureException" if part == "secret_access_key" else "UnrecognizedClientException"
        assert refusal(sign(key=replace(KEY, **{part: changed}))).code in {code, "IncompleteSignatureException"}


HEADER_TEXT = st.text(st.characters(max_codepoint=255), max_size=40)


@given(
    authorization=st.one_of(
        HEADER_TEXT,
        st.builds("AWS4-HMAC-SHA256 {}".format, HEADER_TEXT),
        st.builds(
            f"AWS4-HMAC-SHA256 Credential=client-one/20260304/{REGION}/rekognition/aws4_request, "
            "SignedHeaders={}, Signature={}".format,
            st.sampled_from(["content-type;host;x-amz-date;x-amz-target", "host", ";;"]),
            HEADER_TEXT,
        ),
    ),
    headers=st.lists(st.tuples(st.sampled_from([*HEADERS, "x-amz-date", "date", "x"]), HEADER_TEXT), max_size=6),
    query=st.sampled_from(["", "", "a=b"]),
)
@settings(max_examples=50, deadline=None)
def test_nonsense_is_refused_and_never_fails(authorization, headers, query):
    known = {name: value for name, value in sign().headers if name not in dict(headers)}
    known.pop("authorization", None)
    request = SignedRequest("POST", "/", query, [*known.items(), *headers, ("authorization", authorization)], BODY)
    assert refusal(request).code in CODES


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
