"""Requests signed as the specification says, and what the endpoint says of them."""

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime

import pytest

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
