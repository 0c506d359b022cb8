"""Heat maps of chosen answers, one image after the other, as long as the time lasts."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tasks.bundle.occlusion import HIDDEN_IMAGES, occlusion_map
from tasks.bundle.predictor import Predictor
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.evaluate.records import ImagePrediction
from tasks.explain.choice import MAX_IMAGES, label_to_explain
from tasks.explain.records import ExplainedImage
from tasks.vision.images import ImageError, decode_rgb

MAX_PIXELS = 51_000_000
"""That the model is shown for all maps together: those of ten images at an input of 448 pixels, of four at 640."""
MIN_IMAGES = 3
MAX_SECONDS = 60.0
"""Then no further map is begun: a model or a machine may be slow."""


def affordable_images(input_pixels: int) -> int:
    """Return how many maps may be made of a model that sees so many pixels of an image."""
    return max(MIN_IMAGES, min(MAX_IMAGES, MAX_PIXELS // (input_pixels * HIDDEN_IMAGES)))


def make_maps(
    predictor: Predictor,
    root: Path,
    entries: Mapping[str, ImageEntry],
    answers: Sequence[ImagePrediction],
    report: Callable[[int, int], None],
    seconds: float = MAX_SECONDS,
) -> Iterator[ExplainedImage]:
    """Yield the maps of answers, in order; fewer when the time is over, one at least.

    An image that is gone or changed is passed over: no run is lost to its pictures.

    Args:
        predictor: of the classifier that gave the answers.
        root: folder to which references are relative.
        entries: the images by reference.
        answers: what to explain.
        report: called with maps done and their number.
        seconds: after which no further map is begun.
    """
    until = time.monotonic() + seconds
    for done, answer in enumerate(answers, start=1):
        explained = _explained(predictor, root, entries[answer.source_ref], answer)
        if explained:
            yield explained
        report(done, len(answers))
        if time.monotonic() > until:
            break


def _explained(predictor: Predictor, root: Path, entry: ImageEntry, answer: ImagePrediction) -> ExplainedImage | None:
    try:
        image = decode_rgb(read_image_bytes(root, entry))
    except (SourceChanged, ImageError):
        return None
    label = label_to_explain(answer)
    return ExplainedImage(answer=answer, label=label, heat_map=occlusion_map(predictor, image, label))
