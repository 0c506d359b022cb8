"""Signature Version 4, verified: the signature is computed anew by botocore's own signer and compared.

The rules and most sentences are those of the managed service; clients decide by the code, people by the sentence.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPMessage

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from deployments.endpoint.keys import AccessRefused, Key, Keys

SERVICE = "rekognition"
ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW_SECONDS = 300.0

_TIMESTAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_TIMESTAMP_FORMAT = "%Y%m%dT%H%M%SZ"
_PARTS = ("Credential", "SignedHeaders", "Signature")
_SIGNED_WHEN_PRESENT = ("content-type", "x-amz-target")
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it arrived.

    Attributes:
        method: in capitals.
        path: of the request line, not decoded.
        query: what follows the path's `?`, not decoded; empty when there is none.
        headers: name and value, decoded as Latin-1, in order of arrival; a name that arrived twice is there twice.
        body: the whole body, as sent; empty while only the head has been read.
    """

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


class SignatureRefused(AccessRefused):
    """A request that is not signed as it must be; `code` is the service's name for the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Authorization:
    """What an Authorization header says, taken apart."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request's head says of its signature, and all of it fits; whether it is true only the body can tell.

    Attributes:
        key: that the request says it was signed with.
    """

    key: Key
    _request: SignedRequest
    _headers: Mapping[str, str] = field(repr=False)
    _authorization: _Authorization = field(repr=False)
    _timestamp: str


class _ArrivedSigner(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Signs the headers a request was given, all of them and no other, over its body as it is."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPMessage:
        headers: HTTPMessage = request.headers
        return headers

    def payload(self, request: AWSRequest) -> str:
        return str(request.context["body_sha256"])


def verify(
    request: SignedRequest, keys: Keys, *, region: str, now: datetime, max_skew_seconds: float = MAX_SKEW_SECONDS
) -> Key:
    """Return the key that signed a request.

    Args:
        request: as it arrived, with its body.
        keys: the valid ones.
        region: as of `verify_head`.
        now: as of `verify_head`.
        max_skew_seconds: as of `verify_head`.

    Raises:
        SignatureRefused: as `verify_head` and `verify_body` do.
    """
    claim = verify_head(request, keys, region=region, now=now, max_skew_seconds=max_skew_seconds)
    return verify_body(claim, request.body)


def verify_head(
    request: SignedRequest, keys: Keys, *, region: str, now: datetime, max_skew_seconds: float = MAX_SKEW_SECONDS
) -> Claim:
    """Check all that a request's head tells of its signature, before its body is read.

    Args:
        request: as it arrived; its body is not looked at.
        keys: the valid ones.
        region: where this endpoint says it is; a signature is made for one region.
        now: with a time zone.
        max_skew_seconds: how far the client's clock may be off.

    Raises:
        SignatureRefused: with the service's code: `MissingAuthenticationTokenException`,
            `IncompleteSignatureException`, `UnrecognizedClientException` or `InvalidSignatureException`.
    """
    headers = _single_headers(request)
    authorization = _parse(_authorization_header(request, headers))
    timestamp = _timestamp(headers)
    _check_scope(authorization, timestamp, region)
    _check_clock(timestamp, now, timedelta(seconds=max_skew_seconds))
    _check_signed_headers(authorization, headers)
    key = keys.find(authorization.access_key_id)
    if key is None or "x-amz-security-token" in headers:  # Keeneye issues no session tokens, so none is valid
        raise SignatureRefused("UnrecognizedClientException", "The security token included in the request is invalid.")
    return Claim(key, request, headers, authorization, timestamp)


def verify_body(claim: Claim, body: bytes | bytearray) -> Key:
    """Return the key of a claim whose signature is that of its request with this body.

    Raises:
        SignatureRefused: `InvalidSignatureException`.
    """
    body_sha256 = hashlib.sha256(body).hexdigest()
    if claim._headers.get("x-amz-content-sha256", body_sha256) != body_sha256:
        raise _invalid("The value of X-Amz-Content-Sha256 is not the SHA-256 of the body; sign the body as it is sent.")
    if not hmac.compare_digest(_signature(claim, body_sha256).encode(), claim._authorization.signature.encode()):
        raise _invalid(_MISMATCH)
    return claim.key


def _single_headers(request: SignedRequest) -> dict[str, str]:
    # A header that is there twice could be read by its first value and signed by its second: refused where it
    # matters, and left out of what can have been signed where it does not.
    counts = Counter(name.lower() for name, _ in request.headers)
    twice = sorted(name for name, count in counts.items() if count > 1 and _shapes_signature(name))
    if twice:
        raise _invalid(f"The header {twice[0]} is there {counts[twice[0]]} times; send it once.")
    return {name.lower(): value for name, value in request.headers if counts[name.lower()] == 1}


def _shapes_signature(name: str) -> bool:
    return name in {"authorization", "host", "date", "content-type"} or name.startswith("x-amz-")


def _authorization_header(request: SignedRequest, headers: Mapping[str, str]) -> str:
    if request.path != "/":
        raise _invalid("Signed requests go to the path /; give the client the endpoint's address without a path.")
    if request.query:
        raise SignatureRefused(
            "IncompleteSignatureException",
            "Signed requests have no query string, and presigned addresses are not served; sign the headers.",
        )
    header = headers.get("authorization", "")
    if not header.startswith("AWS4-"):
        raise SignatureRefused("MissingAuthenticationTokenException", "Request is missing Authentication Token")
    return header


def _parse(header: str) -> _Authorization:
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"The algorithm of the Authorization header is not served; sign with {ALGORITHM}.")
    pairs = [part.strip().partition("=") for part in rest.split(",")]
    values = {name: value for name, _, value in pairs}
    missing = [part for part in _PARTS if not values.get(part)]
    if missing:
        raise _incomplete(" ".join(f"Authorization header requires '{part}' parameter." for part in missing))
    if len(pairs) != len(_PARTS):
        raise _incomplete(f"Authorization header has other parameters than {', '.join(_PARTS)}, or one of them twice.")
    scope = values["Credential"].split("/")
    if len(scope) != 5:
        raise _incomplete("Credential must have exactly 5 elements: ID/DATE/REGION/SERVICE/aws4_request.")
    access_key_id, date, region, service, terminator = scope
    signed_headers = tuple(values["SignedHeaders"].split(";"))
    return _Authorization(access_key_id, date, region, service, terminator, signed_headers, values["Signature"])


def _timestamp(headers: Mapping[str, str]) -> str:
    """Return the time of signing as `YYYYMMDDThhmmssZ`, from X-Amz-Date or, without it, Date."""
    text = headers.get("x-amz-date")
    try:
        if text is None:
            # The day's name and a zone come with it; naive times are UTC (RFC 5322).
            moment = parsedate_to_datetime(headers["date"])
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).strftime(_TIMESTAMP_FORMAT)
        if _TIMESTAMP.fullmatch(text):
            _moment(text)
            return text
    except (KeyError, ValueError, TypeError, OverflowError):
        pass
    raise _incomplete(
        "Authorization header requires existence of either a valid 'X-Amz-Date' or a valid 'Date' header."
    )


def _check_scope(authorization: _Authorization, timestamp: str, region: str) -> None:
    if authorization.region != region:
        raise _invalid(f"Credential should be scoped to a valid region, not {authorization.region!r}: use {region!r}.")
    if authorization.service != SERVICE:
        raise _invalid(f"Credential should be scoped to correct service: '{SERVICE}'.")
    if authorization.terminator != "aws4_request":
        raise _invalid("Credential should be scoped with a valid terminator: 'aws4_request'.")
    if authorization.date != timestamp[:8]:
        raise _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"{authorization.date!r} != {timestamp[:8]!r}, from {timestamp!r}."
        )


def _check_signed_headers(authorization: _Authorization, headers: Mapping[str, str]) -> None:
    signed = authorization.signed_headers
    date = "x-amz-date" if "x-amz-date" in headers else "date"
    required = {"host", date, *(name for name in _SIGNED_WHEN_PRESENT if name in headers)}
    unsigned = sorted(required.difference(signed))
    if unsigned:
        raise _invalid(f"'{unsigned[0]}' must be a 'SignedHeader' in the AWS Authorization.")
    if list(signed) != sorted(set(signed)):
        raise _invalid("SignedHeaders must be in lower case, sorted, and each named once.")
    absent = [name for name in signed if name not in headers]
    if absent:
        raise _invalid("A header of SignedHeaders did not arrive; a proxy in between must keep signed headers.")


def _signature(claim: Claim, body_sha256: str) -> str:
    arrived = AWSRequest(
        method=claim._request.method,
        url=f"https://{SERVICE}/",
        headers={name: claim._headers[name] for name in claim._authorization.signed_headers},
    )
    arrived.context.update(timestamp=claim._timestamp, body_sha256=body_sha256)
    credentials = ReadOnlyCredentials(claim.key.access_key_id, claim.key.secret_access_key, None)
    signer = _ArrivedSigner(credentials, SERVICE, claim._authorization.region)
    return str(signer.signature(signer.string_to_sign(arrived, signer.canonical_request(arrived)), arrived))


def _check_clock(timestamp: str, now: datetime, skew: timedelta) -> None:
    signed, minutes = _moment(timestamp), f"{skew.total_seconds() / 60:g} min."
    if signed < now - skew:
        raise _invalid(
            f"Signature expired: {timestamp} is now earlier than {_text(now - skew)} ({_text(now)} - {minutes})"
        )
    if signed > now + skew:
        raise _invalid(
            f"Signature not yet current: {timestamp} is still later than {_text(now + skew)} ({_text(now)} + {minutes})"
        )


def _moment(timestamp: str) -> datetime:
    return datetime.strptime(timestamp, _TIMESTAMP_FORMAT).replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_TIMESTAMP_FORMAT)


def _invalid(message: str) -> SignatureRefused:
    return SignatureRefused("InvalidSignatureException", message)


def _incomplete(message: str) -> SignatureRefused:
    return SignatureRefused("IncompleteSignatureException", message)
