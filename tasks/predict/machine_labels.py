"""Predictions as a Ground Truth manifest with machine labels, ready to be corrected and trained on."""

import json
from collections.abc import Sequence

from tasks.bundle.format import TASKS_WITH_BOXES
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.ground_truth.manifests import manifest_line
from tasks.predict.answers import ImageAnswer, Told
from tasks.predict.records import FetchedModel
from tasks.vision.boxes import BoundingBox, DetectedBox

MANIFEST_FILE = "predictions.manifest"
CONFIDENCE_DIGITS = 6


def machine_line(answer: ImageAnswer, told: Sequence[Told], model: FetchedModel, reference: str) -> str:
    """Return the line of one image, without line break: `human-annotated` is "no", the confidences are the model's.

    A classifier's image of which nothing is told has a reference alone, and waits for a label; where it may have any
    number of labels it has an empty list of them, and that of other models an empty list of boxes. An image may be
    abnormal without a box: it has the label.
    """
    if not told and model.task not in TASKS_WITH_BOXES and not model.is_multi_label:
        return json.dumps({"source-ref": reference}, ensure_ascii=False, separators=(",", ":"))
    boxes: tuple[BoundingBox, ...] | None = tuple(_whole(one.box, answer) for one in told if one.box)
    if not boxes and (told or model.task not in TASKS_WITH_BOXES):
        boxes = None
    sure = {one.label: round(one.confidence, CONFIDENCE_DIGITS) for one in told}
    labels = tuple(sorted(sure))
    entry = ImageEntry(
        source_ref=answer.source_ref,
        sha256=answer.sha256,
        width=answer.width,
        height=answer.height,
        truth=Truth(labels, boxes, tuple(sure[label] for label in labels)),
        is_human=False,
    )
    class_ids = {label: place for place, label in enumerate(model.labels)}
    job_name = f"keeneye/{model.model_name}/{model.model_version}"
    # Whoever corrects the line would have to keep Keeneye's own key in step with it.
    return manifest_line(entry, class_ids, job_name, reference, with_service_key=False)


def _whole(box: DetectedBox, answer: ImageAnswer) -> BoundingBox:
    """Return a box in whole pixels, one at least, within the image."""
    left, top = min(round(box.left), answer.width - 1), min(round(box.top), answer.height - 1)
    right, bottom = max(left + 1, round(box.right)), max(top + 1, round(box.bottom))
    return BoundingBox(box.label, left, top, right - left, bottom - top, round(box.confidence, CONFIDENCE_DIGITS))
