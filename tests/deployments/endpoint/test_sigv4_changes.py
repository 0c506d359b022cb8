"""Whatever is changed of a signed request, it is refused."""

import string
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.endpoint.sigv4 import SignedRequest
from tests.deployments.endpoint.signing import (
    BODY,
    CODES,
    HEADERS,
    KEY,
    MISMATCH,
    REGION,
    header,
    refusal,
    sign,
    with_header,
)

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
