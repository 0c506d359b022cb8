"""What the service answers over a real registry, how many it admits, and how it ends."""

import asyncio
import contextlib
import gc
import sys

import numpy as np
import pytest

from tasks.bundle.predictor import Predictor
from tasks.serving.errors import ImageRefused, Overloaded, ServiceStopping
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry
from tests.makers import paint_shape, png_bytes
from tests.tasks.serving.made_classifier import coloured
from tests.tasks.serving.made_service import OLD, RED, ask
from tests.tasks.serving.test_decoding import bomb

# What is answered


def test_answer_is_the_predictors(serve, production, registered):
    rng = np.random.default_rng(0)
    images = [coloured(*rng.integers(0, 255, 3).tolist(), width=20 + n, height=30 + n) for n in range(40)]

    async def scenario(service):
        return await asyncio.gather(*(ask(service, image) for image in images)), service.stats()

    answers, stats = serve(scenario, batch_size=4)
    expected = Predictor.open(production.cached_bundle(registered.old)).predict_bytes(images)
    for place, (answer, prediction) in enumerate(zip(answers, expected, strict=True)):
        assert answer.prediction.labels == prediction.labels
        assert answer.prediction.confidences == pytest.approx(prediction.confidences, abs=1e-6)
        assert (answer.width, answer.height) == (20 + place, 30 + place)
        assert (answer.model, answer.version, answer.task) == ("colours", "1", "classification")
        assert answer.bundle_digest == registered.old.tags[BUNDLE_DIGEST_TAG]
        assert (answer.labels, dict(answer.thresholds)) == (OLD, dict.fromkeys(OLD, 0.5))
    assert len({prediction.top_label for prediction in expected}) == 3
    assert stats.images == 40
    assert stats.images == sum(size * count for size, count in stats.batch_sizes.items())
    assert (stats.models, stats.loads, stats.pending) == ((("colours", "1"),), 1, 0)


def test_detector_answers_in_pixels_of_each_image(serve, registered, running):
    running("boxes", "1")
    images = [png_bytes(paint_shape("round", side)) for side in (64, 128, 256, 96)]

    async def scenario(service):
        return await asyncio.gather(*(ask(service, image, "boxes", "1") for image in images))

    answers = serve(scenario)
    expected = Predictor.open(Registry(registered.home).cached_bundle(registered.boxes)).predict_bytes(images)
    assert [answer.prediction.boxes for answer in answers] == [prediction.boxes for prediction in expected]
    assert answers[1].prediction.boxes[0].left == pytest.approx(48)
    assert {answer.task for answer in answers} == {"detection"}


@pytest.mark.parametrize(
    ("image", "code"),
    [
        pytest.param(b"", "ERROR_EMPTY_FILE", id="empty"),
        pytest.param(b"<html>", "ERROR_INVALID_IMAGE", id="no image"),
        pytest.param(png_bytes(paint_shape("ring", 64))[:-900], "ERROR_TRUNCATED_IMAGE", id="truncated"),
        pytest.param(bomb(100_000, 100_000), "ERROR_INVALID_IMAGE_DIMENSION", id="bomb"),
        pytest.param(b"\x89PNG" * 50_000, "ERROR_FILE_TOO_LARGE", id="too many bytes"),
    ],
)
def test_bad_image_is_refused_among_good_ones(image, code, serve, production):
    async def scenario(service):
        images = [RED, image, RED, image, RED]
        return await asyncio.gather(*(ask(service, one) for one in images), return_exceptions=True)

    answers = serve(scenario, max_image_bytes=150_000)
    assert [type(one) for one in answers[1::2]] == [ImageRefused] * 2
    assert {one.code for one in answers[1::2]} == {code}
    assert [one.prediction.top_label for one in answers[::2]] == ["red"] * 3


@pytest.mark.parametrize("image", [RED, RED[:-30], b"x" * 5000, bomb(9, 9)], ids=["good", "cut", "text", "no pixels"])
def test_image_is_let_go_of_at_once(image, serve, production):
    """What still holds the bytes after the answer would hold them until the collector of cycles comes by."""

    async def scenario(service):
        await ask(service)
        mine = bytes(bytearray(image))
        gc.collect()
        before = sys.getrefcount(mine)
        gc.disable()
        try:
            for _ in range(3):
                with contextlib.suppress(ImageRefused):
                    await ask(service, mine)
            await asyncio.sleep(0.05)
            return before, sys.getrefcount(mine)
        finally:
            gc.enable()

    before, after = serve(scenario)
    assert after == before


# Limits and the end


def test_places_are_bounded(serve, production):
    async def scenario(service):
        with service.admit(), service.admit():
            with pytest.raises(Overloaded):
                await ask(service)
            assert service.stats().pending == 2
        assert (await ask(service)).version == "1"
        return service.stats().pending

    assert serve(scenario, max_pending=2) == 0


def test_cancelled_client_frees_its_place(serve, production):
    slow = png_bytes(np.zeros((3000, 3000, 3), np.uint8))

    async def scenario(service):
        await ask(service)
        clients = [asyncio.create_task(ask(service, slow)) for _ in range(4)]
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded):
            await ask(service)
        for client in clients:
            client.cancel()
        assert {type(one) for one in await asyncio.gather(*clients, return_exceptions=True)} == {asyncio.CancelledError}
        assert service.stats().pending == 0
        assert (await ask(service)).version == "1"
        return service.stats().images

    assert serve(scenario, max_pending=4, decoders=1) <= 3  # and what waited for a decoder was not worked on


def test_cancelled_image_is_let_go_of_before_its_turn(serve, production):
    slow = png_bytes(np.zeros((5000, 5000, 3), np.uint8))

    async def scenario(service):
        await ask(service)
        first = asyncio.create_task(ask(service, slow))
        await asyncio.sleep(0.01)
        mine = bytes(bytearray(RED))
        before = sys.getrefcount(mine)
        second = asyncio.create_task(ask(service, mine))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait([second])
        del second
        after = sys.getrefcount(mine)
        assert not first.done()
        await first
        return before, after

    before, after = serve(scenario, decoders=1)
    assert after == before


def test_one_cancelled_client_leaves_the_others_their_model(serve, production):
    async def scenario(service):
        clients = [asyncio.create_task(ask(service)) for _ in range(6)]
        await asyncio.sleep(0)
        clients[0].cancel()
        clients[3].cancel()
        answers = await asyncio.gather(*clients, return_exceptions=True)
        return [type(one).__name__ for one in answers]

    assert serve(scenario) == ["CancelledError", "Answer", "Answer", "CancelledError", "Answer", "Answer"]


def test_end_waits_for_what_is_admitted(serve, production):
    async def scenario(service):
        clients = [asyncio.create_task(ask(service)) for _ in range(12)]
        await asyncio.sleep(0)
        ending = asyncio.create_task(service.aclose())
        await asyncio.sleep(0)
        with pytest.raises(ServiceStopping):
            service.admit().__enter__()
        answers = await asyncio.gather(*clients)
        await ending
        with pytest.raises(ServiceStopping):
            await service.predict("colours", "production", RED)
        return {answer.version for answer in answers}, service.stats()

    versions, stats = serve(scenario)
    assert versions == {"1"}
    assert (stats.models, stats.pending) == ((), 0)
