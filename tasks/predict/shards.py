"""Shards of images: hashed, predicted, kept in the content store under everything that shapes their answers.

Files are decoded in threads while the network runs. What waits between them is framed as the network takes it, so it
is small whatever the images' own size.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from tasks.bundle.predictor import BATCH_SIZE, Prediction, Predictor
from tasks.dataset.findings import Finding, count_by_code, write_findings
from tasks.predict.answers import ImageAnswer, write_answers
from tasks.predict.image_files import FramedImage, HashedFile, ReadLimits, frame_file, hash_file
from tasks.predict.records import ANSWERS_FILE, FINDINGS_FILE
from tasks.stores.content import ContentStore, StageKey, StageRecord

SHARD_STAGE = "predict-shard"
SHARD_VERSION = "1"
READ_AHEAD = 2 * BATCH_SIZE
"""Framed images that may wait: one batch is filled while the other is run."""

T = TypeVar("T")
R = TypeVar("R")


class Shard(StageRecord, frozen=True):
    """Some images of a source, done: how many were predicted, and the number of findings by code."""

    predicted: int
    findings: dict[str, int]


@dataclass(frozen=True, slots=True)
class ShardWork:
    """What all shards of a run share.

    Attributes:
        store: keeps the shards.
        root: folder to which references are relative.
        limits: of the files.
        bundle_digest: of the model.
        open_predictor: returns the model, opened at the first call.
        pool: threads that read, decode and frame.
    """

    store: ContentStore
    root: Path
    limits: ReadLimits
    bundle_digest: str
    open_predictor: Callable[[], Predictor]
    pool: ThreadPoolExecutor


def predict_shard(work: ShardWork, refs: Sequence[str], report: Callable[[int], None]) -> tuple[Shard, Path]:
    """Return a shard's record and entry: from the store when its files are as they were, else predicted now.

    Args:
        work: what all shards share.
        refs: the images.
        report: called with the number of images that are done.

    Raises:
        SourceChanged: when a file changes while the shard is predicted.
    """
    files = list(work.pool.map(lambda ref: hash_file(work.root, ref, work.limits), refs))

    def make(folder: Path) -> Shard:
        findings: list[Finding] = []
        answers = list(_answers(work, files, findings, report))
        write_answers(folder / ANSWERS_FILE, answers)
        write_findings(folder / FINDINGS_FILE, findings)
        return Shard(predicted=len(answers), findings=count_by_code(findings))

    return work.store.reuse_or_make(_key(work, files), Shard, make)


def groups_of(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last one perhaps shorter."""
    remaining = iter(items)
    while group := list(islice(remaining, size)):
        yield group


def _key(work: ShardWork, files: Sequence[HashedFile]) -> StageKey:
    return StageKey(
        stage=SHARD_STAGE,
        version=SHARD_VERSION,
        inputs={
            "bundle": work.bundle_digest,
            "root": str(work.root),  # findings name it
            "files": [[file.source_ref, file.content] for file in files],
        },
        config={"limits": asdict(work.limits), "batch": BATCH_SIZE},
        libraries=("numpy", "onnxruntime", "opencv-python-headless", "pillow"),
    )


def _answers(
    work: ShardWork, files: Sequence[HashedFile], findings: list[Finding], report: Callable[[int], None]
) -> Iterator[ImageAnswer]:
    predictor = work.open_predictor()
    is_detector = predictor.card.task == "detection"
    framed = _ahead(work.pool, lambda file: frame_file(work.root, file, work.limits, predictor), files)
    for batch in groups_of(_without_findings(framed, findings), BATCH_SIZE):
        predictions = predictor.predict_prepared([image.prepared for image in batch])
        yield from (_answer(*pair, is_detector) for pair in zip(batch, predictions, strict=True))
        report(len(batch))
    if findings:
        report(len(findings))


def _ahead(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield the function of each item, in order, `READ_AHEAD` of them being worked on or waiting."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        if len(waiting) == READ_AHEAD:
            yield waiting.popleft().result()
        waiting.append(pool.submit(function, item))
    while waiting:
        yield waiting.popleft().result()


def _without_findings(outcomes: Iterable[FramedImage | Finding], findings: list[Finding]) -> Iterator[FramedImage]:
    for outcome in outcomes:
        if isinstance(outcome, Finding):
            findings.append(outcome)
        else:
            yield outcome


def _answer(image: FramedImage, prediction: Prediction, is_detector: bool) -> ImageAnswer:
    return ImageAnswer(
        source_ref=image.source_ref,
        sha256=image.sha256,
        width=image.prepared.width,
        height=image.prepared.height,
        confidences={} if is_detector else prediction.confidences,
        given=() if is_detector else prediction.labels,
        boxes=prediction.boxes,
    )
