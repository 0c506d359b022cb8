"""Dynamic batching: what arrives while the network runs is answered together in its next calls.

Nothing ever waits for a batch to fill: at one client every image runs at once and alone, and batches grow with load, up
to the size that the model gains from. A network with 320 pixel input gains nothing from any: on two cores an image
costs 4.9 ms alone, 5.6 in fours and 6.5 in eights, since its intermediate values then leave the caches; a small network
is spared the cost of calls instead. So the size is measured when a model is loaded.

An image that comes alone gets all cores. When more wait, as many calls run at once as there are cores, each on one:
what a call's threads lose by waiting for each other is a third of their time (13.6 ms an image against 9.5).
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from threading import Condition, Lock, Thread

import numpy as np

from tasks.bundle.predictor import BATCH_SIZE, Prediction, Predictor, PreparedImage
from tasks.serving.errors import ModelUnavailable, ServiceStopping

_log = logging.getLogger(__name__)

LEAST_GAIN = 0.05
"""What a larger batch must save per image to be taken."""
TRIALS = 3

Waiting = tuple[PreparedImage, Future[Prediction]]


def best_batch_size(predictor: Predictor) -> int:
    """Double the batch, up to `BATCH_SIZE`, as long as that makes an image cheaper on this machine, by trial."""
    frame = predictor.prepare(np.zeros((8, 8, 3), np.uint8))
    size, seconds = 1, _seconds_per_image(predictor, [frame])
    while size < BATCH_SIZE:
        seconds_doubled = _seconds_per_image(predictor, [frame] * (2 * size))
        if seconds_doubled > seconds * (1 - LEAST_GAIN):
            break
        size, seconds = 2 * size, seconds_doubled
    return size


def _seconds_per_image(predictor: Predictor, batch: Sequence[PreparedImage]) -> float:
    trials = []
    for _ in range(TRIALS):  # the best of them is the least disturbed by whatever else runs
        start = time.perf_counter()
        predictor.predict_prepared(batch)
        trials.append(time.perf_counter() - start)
    return min(trials) / len(batch)


class BatchCounts:
    """How many batches of which size were answered; of all models together."""

    def __init__(self) -> None:
        self._batches: Counter[int] = Counter()
        self._lock = Lock()

    def add(self, size: int) -> None:
        """Count a batch of so many images."""
        with self._lock:
            self._batches[size] += 1

    def by_size(self) -> Mapping[int, int]:
        """Return number of batches by number of images, ascending."""
        with self._lock:
            return dict(sorted(self._batches.items()))


class Batcher:
    """One model's queue and the threads that run its network, on up to `batch_size` images at once each.

    Args:
        predictor: runs what comes alone, on all cores.
        counts: is told of every batch.
        batch_size: images of a call at most.
        calls: how many run at once.
        narrow: runs what does not come alone, each call on one core; without it `predictor` runs everything.
    """

    def __init__(
        self,
        predictor: Predictor,
        counts: BatchCounts,
        batch_size: int,
        *,
        calls: int = 1,
        narrow: Predictor | None = None,
    ) -> None:
        self._predictor = predictor
        self._narrow = narrow or predictor
        self._batch_size = batch_size
        self._running = 0
        self._counts = counts
        self._waiting: deque[Waiting] = deque()
        self._changed = Condition()
        self._is_closed = False
        for number in range(calls):
            Thread(target=self._work, name=f"keeneye-batches-{number}", daemon=True).start()

    def submit(self, image: PreparedImage, answer: Future[Prediction]) -> None:
        """Queue an image; `answer` gets its prediction, or what kept it from one. Cancelled, it is skipped.

        Raises:
            ServiceStopping: when the batcher is closed.
        """
        with self._changed:
            if self._is_closed:
                raise ServiceStopping("the model was unloaded before its image was ready; try again")
            self._waiting.append((image, answer))
            self._changed.notify()

    def close(self) -> None:
        """Take nothing more; what waits is still answered, then the threads end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while batch := self._next_batch():
            predictor = self._begin()
            live = [one for one in batch if one[1].set_running_or_notify_cancel()]
            if live:
                self._run(predictor, live)
            # Else this frame would keep the last pixels and answers until the next image comes.
            del batch, live
            self._end()

    def _next_batch(self) -> list[Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            return [self._waiting.popleft() for _ in range(min(self._batch_size, len(self._waiting)))]

    def _begin(self) -> Predictor:
        with self._changed:
            self._running += 1
            is_alone = self._running == 1 and not self._waiting
            return self._predictor if is_alone else self._narrow

    def _end(self) -> None:
        with self._changed:
            self._running -= 1

    def _run(self, predictor: Predictor, batch: Sequence[Waiting]) -> None:
        try:
            predictions = predictor.predict_prepared([image for image, _ in batch])
        except Exception as error:  # ONNX Runtime raises its own unexported exception types
            self._after_failure(predictor, batch, error)
        else:
            self._counts.add(len(batch))
            for (_, answer), prediction in zip(batch, predictions, strict=True):
                answer.set_result(prediction)

    def _after_failure(self, predictor: Predictor, batch: Sequence[Waiting], error: Exception) -> None:
        if len(batch) > 1:  # one of them may be at fault: no other pays for it
            for one in batch:
                self._run(predictor, [one])
            return
        _log.error("the network failed", exc_info=error)
        batch[0][1].set_exception(ModelUnavailable(f"the model could not answer: {str(error) or type(error).__name__}"))
