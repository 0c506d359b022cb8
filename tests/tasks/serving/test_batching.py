import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from tasks.bundle.predictor import BATCH_SIZE, Predictor, PreparedImage
from tasks.serving.batching import BatchCounts, Batcher, best_batch_size
from tasks.serving.errors import ModelUnavailable, ServiceStopping
from tests.tasks.serving.made_classifier import INPUT_SIZE, write_classifier

LABELS = ("red", "green", "blue")


class GatedPredictor(Predictor):
    """The real predictor; it notes the sizes of its batches, and a test may hold it up or make it cost time."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.sizes = []
        self.seconds_by_size = {}
        self.gate = Event()
        self.gate.set()

    def predict_prepared(self, images):
        self.sizes.append(len(images))
        time.sleep(self.seconds_by_size.get(len(images), 0.0))
        assert self.gate.wait(10)
        return super().predict_prepared(images)

    def hold_up(self, batcher):
        """Let the network work on an image until the gate is opened; returns that image's answer."""
        self.gate.clear()
        answers = submit(batcher, frames(1))
        deadline = time.monotonic() + 10
        while not self.sizes and time.monotonic() < deadline:
            time.sleep(0.001)
        assert self.sizes == [1]
        return answers[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("bundle"), LABELS)


@pytest.fixture
def predictor(bundle):
    return GatedPredictor.open(bundle)


@pytest.fixture
def batcher(predictor):
    made = Batcher(predictor, BatchCounts(), 4)
    yield made
    made.close()


def frames(count, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (count, 1, 1, 3), dtype=np.uint8)
    full = np.broadcast_to(pixels, (count, INPUT_SIZE, INPUT_SIZE, 3))
    return [PreparedImage(np.ascontiguousarray(one), 9, 9) for one in full]


def submit(batcher, images):
    answers = [Future() for _ in images]
    for image, answer in zip(images, answers, strict=True):
        batcher.submit(image, answer)
    return answers


def test_answers_are_the_predictors_in_order(batcher, bundle):
    images = frames(30)
    expected = Predictor.open(bundle).predict_prepared(images)
    for answer, prediction in zip(submit(batcher, images), expected, strict=True):
        assert answer.result(10).labels == prediction.labels
        assert answer.result().confidences == pytest.approx(prediction.confidences, abs=1e-6)
    assert len({prediction.top_label for prediction in expected}) == 3


def test_threads_get_their_own_answers(batcher, bundle):
    images = frames(200, seed=1)
    expected = Predictor.open(bundle).predict_prepared(images)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda image: submit(batcher, [image])[0].result(10), images))
    assert [one.top_label for one in answers] == [one.top_label for one in expected]


def test_lone_image_does_not_wait(batcher, predictor):
    seconds = []
    for image in frames(10):
        start = time.monotonic()
        submit(batcher, [image])[0].result(10)
        seconds.append(time.monotonic() - start)
    assert predictor.sizes == [1] * 10
    assert min(seconds) < 0.1


def test_what_arrives_meanwhile_is_answered_together(batcher, predictor):
    first = predictor.hold_up(batcher)
    answers = submit(batcher, frames(6))
    predictor.gate.set()
    assert all(answer.result(10).labels for answer in [first, *answers])
    assert predictor.sizes == [1, 4, 2]


def test_calls_run_at_once_and_no_more(predictor):
    batcher = Batcher(predictor, BatchCounts(), 1, calls=3)
    predictor.gate.clear()
    answers = submit(batcher, frames(5))
    deadline = time.monotonic() + 10
    while len(predictor.sizes) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)  # a fourth would have begun by now
    assert predictor.sizes == [1] * 3
    predictor.gate.set()
    assert all(answer.result(10).labels for answer in answers)
    batcher.close()
    with pytest.raises(ServiceStopping):
        batcher.submit(frames(1)[0], Future())


def test_what_comes_alone_gets_all_cores_and_the_rest_one_each(bundle):
    wide, narrow = GatedPredictor.open(bundle), GatedPredictor.open(bundle)
    batcher = Batcher(wide, BatchCounts(), 1, calls=2, narrow=narrow)
    first = wide.hold_up(batcher)
    beside = submit(batcher, frames(1))[0]
    assert beside.result(10).labels
    assert (wide.sizes, narrow.sizes) == ([1], [1])
    wide.gate.set()
    assert first.result(10).labels
    deadline = time.monotonic() + 10
    while narrow.sizes == [1] and len(wide.sizes) < 3 and time.monotonic() < deadline:
        assert submit(batcher, frames(1))[0].result(10).labels  # alone again, once the first call's thread is back
    assert len(wide.sizes) > 1
    batcher.close()


def test_both_networks_say_the_same_to_the_bit(bundle):
    wide, narrow = Predictor.open(bundle, threads=2), Predictor.open(bundle, threads=1)
    assert wide.predict_prepared(frames(8)) == narrow.predict_prepared(frames(8))


def test_closed_batcher_leaves_no_thread(predictor):
    before = set(threading.enumerate())
    batcher = Batcher(predictor, BatchCounts(), 1, calls=3)
    threads = set(threading.enumerate()) - before
    assert len(threads) == 3
    batcher.close()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_bad_image_harms_no_other(batcher, predictor):
    first = predictor.hold_up(batcher)
    good = frames(3)
    bad = PreparedImage(np.zeros((3, 5, 3), np.uint8), 9, 9)
    answers = submit(batcher, [good[0], bad, good[1], good[2]])
    predictor.gate.set()
    assert first.result(10).labels
    with pytest.raises(ModelUnavailable):
        answers[1].result(10)
    for place in (0, 2, 3):
        assert answers[place].result(10).labels
    assert submit(batcher, good)[0].result(10).labels  # and the thread goes on


def test_images_of_a_failed_batch_are_counted_once(predictor):
    counts = BatchCounts()
    batcher = Batcher(predictor, counts, 4)
    first = predictor.hold_up(batcher)
    good = frames(3)
    bad = PreparedImage(np.zeros((3, 5, 3), np.uint8), 9, 9)
    answers = submit(batcher, [good[0], bad, good[1], good[2]])
    predictor.gate.set()
    assert first.result(10).labels
    assert all(answers[place].result(10).labels for place in (0, 2, 3))
    assert counts.by_size() == {1: 4}
    batcher.close()


def test_cancelled_images_are_skipped(batcher, predictor):
    first = predictor.hold_up(batcher)
    answers = submit(batcher, frames(4))
    assert all(answer.cancel() for answer in answers[:3])
    predictor.gate.set()
    assert first.result(10).labels
    assert answers[3].result(10).labels
    assert predictor.sizes == [1, 1]


def test_all_cancelled_runs_nothing(batcher, predictor):
    first = predictor.hold_up(batcher)
    for answer in submit(batcher, frames(2)):
        answer.cancel()
    predictor.gate.set()
    assert first.result(10).labels
    assert submit(batcher, frames(1))[0].result(10).labels
    assert predictor.sizes == [1, 1]


def test_closed_batcher_answers_what_waits(batcher, predictor):
    first = predictor.hold_up(batcher)
    answers = submit(batcher, frames(7))
    batcher.close()
    predictor.gate.set()
    assert all(answer.result(10).labels for answer in [first, *answers])
    with pytest.raises(ServiceStopping):
        batcher.submit(frames(1)[0], Future())


def test_batches_are_counted(predictor):
    counts = BatchCounts()
    batcher = Batcher(predictor, counts, 2)
    first = predictor.hold_up(batcher)
    answers = submit(batcher, frames(3))
    predictor.gate.set()
    assert all(answer.result(10).labels for answer in [first, *answers])
    assert counts.by_size() == {1: 2, 2: 1}
    batcher.close()


@pytest.mark.parametrize(
    ("seconds_by_size", "expected"),
    [
        pytest.param(dict.fromkeys((1, 2, 4, 8, 16), 0.2), BATCH_SIZE, id="calls cost"),
        pytest.param({1: 0.1, 2: 0.5}, 1, id="images cost"),
        pytest.param({1: 0.15, 2: 0.2, 4: 0.25, 8: 1.0, 16: 0.05}, 4, id="large batches cost"),
    ],
)
def test_batch_grows_while_it_pays(seconds_by_size, expected, predictor):
    predictor.seconds_by_size = seconds_by_size
    assert best_batch_size(predictor) == expected
