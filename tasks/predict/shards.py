"""Shards of images: hashed, predicted, kept in the content store under everything that shapes their answers.

Files are decoded in threads while the network runs. What waits between them is framed as the network takes it, so it
is small whatever the images' own size.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from tasks.bundle.predictor import BATCH_SIZE, Prediction, Predictor
from tasks.dataset.findings import Finding, count_by_code, write_findings
from tasks.predict.answers import ImageAnswer, write_answers
from tasks.predict.image_files import DECODERS, FramedImage, HashedFile, ReadLimits, frame_file, hash_file
from tasks.predict.records import ANSWERS_FILE, FINDINGS_FILE
from tasks.shards.runner import Tell, shards_of
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
class PredictWork:
    """Predicts shards of image references.

    Attributes:
        store: keeps the shards.
        root: folder to which references are relative.
        limits: of the files.
        bundle: folder of the model.
        bundle_digest: of the model.
    """

    store: ContentStore
    root: Path
    limits: ReadLimits
    bundle: Path
    bundle_digest: str

    def __call__(self, shard: Sequence[str], threads: int, tell: Tell) -> tuple[Shard, Path]:
        """Return a shard's record and entry: from the store when its files are as they were, else predicted now.

        Raises:
            SourceChanged: when a file changes while the shard is predicted.
        """
        with ThreadPoolExecutor(min(threads, DECODERS) or DECODERS) as pool:
            files = list(pool.map(lambda ref: hash_file(self.root, ref, self.limits), shard))

            def make(folder: Path) -> Shard:
                predictor, findings = _open(self.bundle, self.bundle_digest, threads), list[Finding]()
                framed = _ahead(pool, lambda file: frame_file(self.root, file, self.limits, predictor), files)
                answers = list(_answers(predictor, framed, findings, tell))
                write_answers(folder / ANSWERS_FILE, answers)
                write_findings(folder / FINDINGS_FILE, findings)
                return Shard(predicted=len(answers), findings=count_by_code(findings))

            return self.store.reuse_or_make(self._key(files), Shard, make)

    def _key(self, files: Sequence[HashedFile]) -> StageKey:
        return StageKey(
            stage=SHARD_STAGE,
            version=SHARD_VERSION,
            inputs={
                "bundle": self.bundle_digest,
                "root": str(self.root),  # findings name it
                "files": [[file.source_ref, file.content] for file in files],
            },
            config={"limits": asdict(self.limits), "batch": BATCH_SIZE},
            libraries=("numpy", "onnxruntime", "opencv-python-headless", "pillow"),
        )


@lru_cache(1)
def _open(bundle: Path, digest: str, threads: int) -> Predictor:
    """Open a model once for all shards of a run that this process carries out."""
    return Predictor.open(bundle, expected_digest=digest, threads=threads)


def _answers(
    predictor: Predictor, framed: Iterable[FramedImage | Finding], findings: list[Finding], tell: Tell
) -> Iterator[ImageAnswer]:
    is_detector = predictor.card.task == "detection"
    for batch in shards_of(_without_findings(framed, findings), BATCH_SIZE):
        predictions = predictor.predict_prepared([image.prepared for image in batch])
        yield from (_answer(*pair, is_detector) for pair in zip(batch, predictions, strict=True))
        tell(len(batch))
    if findings:
        tell(len(findings))


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
