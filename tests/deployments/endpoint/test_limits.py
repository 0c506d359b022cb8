import asyncio

import pytest
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from deployments.endpoint.limits import BodyReader, BodyTooLarge, BodyTooSlow
from tasks.serving.errors import Overloaded


def chunks(*parts, then=None):
    """Return what receives some parts of a body, and at the end the last or a disconnect or nothing more."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if then is None:
        messages[-1]["more_body"] = False

    async def receive():
        if messages:
            return messages.pop(0)
        if then == "disconnect":
            return {"type": "http.disconnect"}
        return await asyncio.Event().wait()

    receive.left = messages
    return receive


def read(reader, receive, *, max_bytes=10, length=None):
    async def run():
        headers = Headers({} if length is None else {"content-length": str(length)})
        async with reader.body(headers, receive, max_bytes) as body:
            return body, reader.held_bytes

    return asyncio.run(run())


@pytest.mark.parametrize("length", [None, 6])
@pytest.mark.parametrize("parts", [(b"abcdef",), (b"ab", b"", b"cdef"), tuple(b"abcdef"[i : i + 1] for i in range(6))])
def test_body_is_whole_and_held_until_the_end(parts, length):
    reader = BodyReader(100)
    assert read(reader, chunks(*parts), length=length) == (b"abcdef", 6)
    assert reader.held_bytes == 0


@pytest.mark.parametrize("length", [None, 0])
def test_body_may_be_empty(length):
    assert read(BodyReader(100), chunks(b""), length=length) == (b"", 0)


@pytest.mark.parametrize(
    ("receive", "length", "error"),
    [
        pytest.param(chunks(b"a" * 11), 11, BodyTooLarge, id="declared too large"),
        pytest.param(chunks(b"a" * 11), None, BodyTooLarge, id="found too large"),
        pytest.param(chunks(b"a" * 6, b"a" * 5), None, BodyTooLarge, id="too large in two parts"),
        pytest.param(chunks(b"a" * 11), 3, BodyTooLarge, id="larger than declared"),
        pytest.param(chunks(b"a", then="nothing"), 5, BodyTooSlow, id="stalls"),
        pytest.param(chunks(b"a", then="disconnect"), 5, ClientDisconnect, id="client goes"),
    ],
)
def test_refused_body_gives_its_memory_back(receive, length, error):
    reader = BodyReader(100, max_seconds=0.05)
    with pytest.raises(error):
        read(reader, receive, length=length)
    assert reader.held_bytes == 0


def test_too_large_by_its_length_is_refused_unread():
    receive = chunks(b"a" * 11)
    with pytest.raises(BodyTooLarge):
        read(BodyReader(100), receive, length=11)
    assert len(receive.left) == 1


@pytest.mark.parametrize(
    ("length", "fits"),
    [
        pytest.param(5, True, id="declared, fits"),
        pytest.param(6, False, id="declared, does not fit"),
        pytest.param(None, False, id="undeclared needs the most it may have"),
    ],
)
def test_bodies_together_are_bounded(length, fits):
    async def run():
        reader = BodyReader(15)
        headers = Headers({"content-length": str(length)} if length else {})
        async with reader.body(Headers({}), chunks(b"a" * 10), 10):
            if not fits:
                with pytest.raises(Overloaded):
                    async with reader.body(headers, chunks(b"b"), 10):
                        pass
                assert reader.held_bytes == 10
                return
            async with reader.body(headers, chunks(b"b" * 5), 10) as body:
                assert (body, reader.held_bytes) == (b"bbbbb", 15)

    asyncio.run(run())


def test_error_of_the_block_passes_and_frees():
    async def run():
        reader = BodyReader(15)
        with pytest.raises(TimeoutError):
            async with reader.body(Headers({}), chunks(b"a"), 10):
                raise TimeoutError
        assert reader.held_bytes == 0

    asyncio.run(run())
