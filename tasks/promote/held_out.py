"""The test images that two versions are compared on, and a version's answers to them.

The test set is the champion's, frozen in its manifest. When the two do not know the same labels it is the challenger's,
without the images that only one of them can answer.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tasks.bundle.format import ModelCard, file_sha256, read_model_card
from tasks.bundle.predictor import BATCH_SIZE, Prediction, Predictor, PreparedImage
from tasks.bundle_export.records import ExportSource
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.evaluate.records import read_predictions
from tasks.ground_truth.manifests import read_manifest
from tasks.promote.records import ComparedImages
from tasks.stores.content import ContentStore, StageKey, StageRecord, digest_of
from tasks.vision.images import decode_rgb

ANSWERS_STAGE = "promote-answers"
ANSWERS_VERSION = "1"
ANSWERS_FILE = "answers.jsonl"
THREADS = 2
"""Each holds one decoded image, up to 300 MB."""

Report = Callable[[int, int], None]
"""Called with the number of images answered and their total."""

_ANSWER = TypeAdapter(Prediction)


class KeptAnswers(StageRecord, frozen=True):
    """A bundle's answers in the content store: the number of images they are of."""

    images: int


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version and the card of its bundle."""

    source: ExportSource
    card: ModelCard

    @classmethod
    def of(cls, source: ExportSource) -> "Version":
        """Read the card.

        Raises:
            BundleError: when the bundle is damaged, or not the one that was registered.
        """
        return cls(source, read_model_card(Path(source.bundle_path), expected_digest=source.bundle_digest))

    @property
    def uri(self) -> str:
        """Its `models:/` address."""
        return self.source.model_uri


@dataclass(frozen=True, slots=True)
class HeldOutSet:
    """Test images that every version of a comparison can answer.

    Attributes:
        owner: the version whose test set it is.
        entries: the images.
        left_out: number of images of the test set that carry a label not all of them know.
    """

    owner: Version
    entries: tuple[ImageEntry, ...]
    left_out: int

    @property
    def root(self) -> Path:
        """The folder to which references are relative."""
        return Path(self.owner.source.manifest.roots["test"])

    @property
    def is_detection(self) -> bool:
        """Whether answers are boxes."""
        return self.owner.card.task == "detection"

    def told(self) -> ComparedImages:
        """Return what a record tells of it."""
        digest = file_sha256(self.owner.source.manifest.manifest_path("test"))
        return ComparedImages(of=self.owner.uri, digest=digest, images=len(self.entries), left_out=self.left_out)


def labels_differ(champion: Version, challenger: Version) -> bool:
    """Return whether one of the two knows a label that the other does not."""
    return set(champion.card.labels) != set(challenger.card.labels)


def choose_held_out(champion: Version, challenger: Version) -> HeldOutSet:
    """Return the champion's test set or, when the labels differ, what both can answer of the challenger's.

    Raises:
        DataError: when the test manifest cannot be read.
    """
    owner = challenger if labels_differ(champion, challenger) else champion
    return held_out_of(owner, set(champion.card.labels) & set(challenger.card.labels))


def held_out_of(owner: Version, known: set[str]) -> HeldOutSet:
    """Return the images of a version's test set that carry known labels only; raises as `choose_held_out` does."""
    listed = list(read_manifest(owner.source.manifest.manifest_path("test")))
    entries = tuple(entry for entry in listed if known.issuperset(entry.truth.labels))
    return HeldOutSet(owner, entries, len(listed) - len(entries))


def answers_of(store: ContentStore, version: Version, held_out: HeldOutSet, report: Report) -> list[Prediction]:
    """Return a version's answers, in the order of the images: its evaluation's, the store's, or made and kept there.

    They are kept under the digests of the bundle and of the images, whatever manifest lists these.

    Raises:
        BundleError: when the bundle cannot be opened.
        SourceChanged: when an image is gone, or its bytes are others.
    """
    source = version.source
    known = _evaluated(source)
    if all(entry.sha256 in known for entry in held_out.entries):
        return [known[entry.sha256] for entry in held_out.entries]
    key = StageKey(
        stage=ANSWERS_STAGE,
        version=ANSWERS_VERSION,
        inputs={"bundle": source.bundle_digest, "images": digest_of([entry.sha256 for entry in held_out.entries])},
        config={},
        libraries=("numpy", "onnxruntime", "opencv-python-headless", "pillow"),
    )

    def make(folder: Path) -> KeptAnswers:
        predictor = Predictor.open(Path(source.bundle_path), expected_digest=source.bundle_digest)
        with (folder / ANSWERS_FILE).open("wb") as stream:
            stream.writelines(_ANSWER.dump_json(one) + b"\n" for one in _predict(predictor, held_out, report))
        return KeptAnswers(images=len(held_out.entries))

    _, path = store.reuse_or_make(key, KeptAnswers, make)
    with (path / ANSWERS_FILE).open("rb") as stream:
        return [_ANSWER.validate_json(line) for line in stream]


def _evaluated(source: ExportSource) -> dict[str, Prediction]:
    """Return the answers of the evaluation, by the images' digests; its predictor was the same as here."""
    if not source.predictions_path:
        return {}
    found = read_predictions(Path(source.predictions_path))
    return {one.sha256: Prediction(one.confidences, one.given, one.boxes or (), one.heat_map) for one in found}


def _predict(predictor: Predictor, held_out: HeldOutSet, report: Report) -> Iterator[Prediction]:
    entries = held_out.entries

    def prepare(entry: ImageEntry) -> PreparedImage:
        return _prepare(predictor, held_out, entry)

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(entries), BATCH_SIZE):
            batch = entries[start : start + BATCH_SIZE]
            yield from predictor.predict_prepared(list(pool.map(prepare, batch)))
            report(start + len(batch), len(entries))


def _prepare(predictor: Predictor, held_out: HeldOutSet, entry: ImageEntry) -> PreparedImage:
    try:
        return predictor.prepare(decode_rgb(read_image_bytes(held_out.root, entry)))
    except SourceChanged as error:
        raise SourceChanged(
            f"{held_out.root / entry.source_ref} is no longer the test image of {held_out.owner.uri} (it is gone, or "
            "its bytes changed), so nothing can be compared on it; put it back, or train again"
        ) from error
