"""A detector's answers on made-up test images, as `ImagePrediction`s."""

from collections.abc import Mapping, Sequence

from tasks.evaluate.answers import Answers
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.detection import CrossValidatedDetection, mark_given
from tests.tasks.metrics.random_boxes import LABELS, Found, Truths, dataset

SIZE = (1200, 1100)
CUTS = {"bent": 0.5, "cut": 0.25, "lost": 0.6, "odd": 0.5}


def predictions_of(
    truths: Truths, found: Found, labels: Sequence[str], cuts: Mapping[str, float]
) -> list[ImagePrediction]:
    """Return what the predictor would have told."""
    told = []
    for number, (true_boxes, boxes) in enumerate(zip(truths, mark_given(found, cuts), strict=True)):
        surest = sorted(boxes, key=lambda box: -box.confidence)
        confidences = {
            label: max([box.confidence for box in boxes if box.label == label], default=0.0) for label in labels
        }
        told.append(
            ImagePrediction(
                source_ref=f"{number}.png",
                sha256="",
                truth=tuple(sorted({box.label for box in true_boxes})),
                confidences=dict(sorted(confidences.items(), key=lambda item: -item[1])),
                given=tuple({box.label: None for box in surest if box.is_given}),
                true_boxes=tuple(true_boxes),
                boxes=tuple(surest),
            )
        )
    return told


def answers_of(
    seed: int,
    labels: tuple[str, ...] = LABELS,
    cross_validated: CrossValidatedDetection | None = None,
    **shape: object,
) -> Answers:
    """Return a model's answers on random boxes; `shape` is that of `dataset`. Of LABELS, the last has no true box."""
    truths, found = dataset(seed, labels=labels[:3] if labels == LABELS else labels, **shape)
    cuts = dict.fromkeys(labels, 0.5) | {label: CUTS[label] for label in labels if label in CUTS}
    return Answers(
        predictions=predictions_of(truths, found, labels, cuts),
        sizes=[SIZE] * len(truths),
        labels=labels,
        thresholds=cuts,
        class_ids={label: 3 * place for place, label in enumerate(labels)},
        training_images=77,
        version_arn="arn",
        cross_validated=cross_validated,
    )
