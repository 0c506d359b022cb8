"""Advice on a detector, drawn from the boxes of the test images: what to look at and what to do.

A rule speaks only when the numbers carry it: a pattern needs several boxes.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tasks.metrics.detection import DetectionMetrics
from tasks.metrics.matching import box_overlaps
from tasks.report.detection_facts import DetectionFacts, JudgedImage
from tasks.report.facts import Advice, count_images, enumerated, most_important_first, quoted
from tasks.report.inputs import ReportInputs
from tasks.report.shared_advice import (
    BOXES,
    Spread,
    conflicting_copies,
    confused_pairs,
    few_things,
    labels_spoken_of,
    unusable_files,
    wide_spread,
)
from tasks.vision.boxes import BoundingBox, DetectedBox

SUSPECT_CONFIDENCE = 0.7
"""A detector this sure of a box where none is drawn may be right; its confidences are lower than a classifier's."""
SUSPECT_OVERLAP = 0.1
"""A false alarm that overlaps a true box more than this is a box in the wrong place, not a forgotten one."""
MIN_CONFIDENT_HITS, MIN_CONFIDENT_PRECISION = 5, 0.8
"""Sure boxes of a label are believed after this many were right, and if this share of them was."""
WEAK_SHARE, MIN_WEAK_BOXES = 0.5, 5
MIN_BACKGROUND_ALARMS, MIN_BACKGROUND_SHARE = 3, 0.1
"""Images without boxes that nevertheless got one: their number, and their share of all images without boxes."""
TINY_PIXELS = 8
"""A shorter side below this, as the network sees it, is one place at most on the finest level of its features."""
MIN_TINY_MISSED = 3
SIZE_STEP, LARGEST_INPUT = 32, 1024
"""Input sizes are multiples of the one, and the other at most."""
FEW_TEST_BOXES = 10
"""With fewer, one box moves a label's recall by more than 10 points."""


def advise_on_detector(inputs: ReportInputs[DetectionMetrics]) -> list[Advice]:
    """Return all advice, most important first."""
    facts = DetectionFacts(inputs)
    return most_important_first(advice for rule in _RULES for advice in rule(facts))


def _forgotten_boxes(facts: DetectionFacts) -> Iterator[Advice]:
    suspects = forgotten_boxes(facts.images)
    if suspects:
        images = tuple(dict.fromkeys(image.source_ref for image, _ in suspects))
        each = enumerated(f"{image.source_ref} ({quoted(box.label)}, {box.confidence:.2f})" for image, box in suspects)
        yield Advice(
            "high",
            f"{BOXES.in_words(len(suspects))} may be missing from the annotations",
            f"The model is sure of a box ({SUSPECT_CONFIDENCE} or more) where none is drawn, and boxes of that label "
            f"which it is as sure of are mostly right: {each}. Look at each: where something is there, draw the box "
            "and train again; where nothing is, add more images like it.",
            images,
        )


def forgotten_boxes(images: Sequence[JudgedImage]) -> list[tuple[JudgedImage, DetectedBox]]:
    """Return false alarms far from every true box of which the model is sure and to be believed, the surest first."""
    hits = Counter(box.label for image in images for box in image.found if _is_sure(box))
    given = Counter(box.label for image in images for box in image.given if _is_sure(box))
    suspects = [
        (image, box)
        for image in images
        for box in image.false_alarms
        if _is_sure(box)
        and hits[box.label] >= max(MIN_CONFIDENT_HITS, MIN_CONFIDENT_PRECISION * given[box.label])
        and not (box_overlaps(image.true_boxes, [box]) > SUSPECT_OVERLAP).any()
    ]
    return sorted(suspects, key=lambda one: (-one[1].confidence, one[0].source_ref))


def _is_sure(box: DetectedBox) -> bool:
    return box.confidence >= SUSPECT_CONFIDENCE


def _confused_pairs(facts: DetectionFacts) -> Iterator[Advice]:
    def images_of(ways: Sequence[tuple[str, str]]) -> Iterator[str]:
        return (
            image.source_ref
            for image in facts.images
            if any((truth.label, given.label) in ways for truth, given in image.mistaken)
        )

    return confused_pairs(facts.confusions, BOXES, images_of)


def _weak_labels(facts: DetectionFacts) -> Iterator[Advice]:
    covered = labels_spoken_of(facts.confusions)
    weak = {
        label: f"{quoted(label)} {facts.tested[label] - facts.missed[label]} of {facts.tested[label]}"
        for label in facts.inputs.labels
        if label not in covered
        and facts.tested[label] >= MIN_WEAK_BOXES
        and facts.missed[label] > WEAK_SHARE * facts.tested[label]
    }
    if weak:
        yield Advice(
            "high",
            "Labels that are mostly missed",
            f"Boxes found on the test images: {enumerated(weak.values())}. Look at what the missed ones share: size, "
            "contrast, place in the image. Add images of that kind, or try a larger input size or longer training.",
            tuple(image.source_ref for image in facts.images if any(box.label in weak for box in image.missed)),
        )


def _background(facts: DetectionFacts) -> Iterator[Advice]:
    empty = [image for image in facts.images if not image.true_boxes]
    alarmed = sorted((i for i in empty if i.false_alarms), key=lambda i: (-i.surest_false_alarm, i.source_ref))
    if len(alarmed) < max(MIN_BACKGROUND_ALARMS, MIN_BACKGROUND_SHARE * len(empty)):
        return
    labels = Counter(box.label for image in alarmed for box in image.false_alarms)
    each = enumerated(f"{quoted(label)} {count}" for label, count in sorted(labels.items(), key=_most_first))
    learned = sum(e.truth.boxes == () for split in ("train", "validation") for e in facts.inputs.entries.get(split, ()))
    yield Advice(
        "medium",
        "False alarms on images without boxes",
        f"{len(alarmed)} of {count_images(len(empty))} without boxes in the test split got some all the same; by "
        f"label: {each}. The model learned from {count_images(learned)} without boxes: add more that show what it "
        "takes for a box. Where a false alarm costs more than a miss, act on higher confidences only.",
        tuple(image.source_ref for image in alarmed),
    )


@dataclass(frozen=True, slots=True)
class _SeenBox:
    """A true box with its shorter side and the longer side of its image (pixels of the image)."""

    source_ref: str
    side: int
    image_side: int
    is_missed: bool

    def pixels_at(self, input_size: int) -> float:
        return self.side * input_size / self.image_side


def _small_boxes(facts: DetectionFacts) -> Iterator[Advice]:
    size = facts.inputs.input_size
    boxes = _seen_boxes(facts)
    tiny = [box for box in boxes if box.pixels_at(size) < TINY_PIXELS]
    missed = [box for box in tiny if box.is_missed]
    others = [box for box in boxes if box.pixels_at(size) >= TINY_PIXELS]
    others_missed = sum(box.is_missed for box in others)
    # Where larger boxes are missed as often, size is not what hides them.
    if len(missed) < MIN_TINY_MISSED or len(missed) * len(others) <= others_missed * len(tiny):
        return
    wanted = larger_input([TINY_PIXELS * box.image_side / box.side for box in missed], size)
    if wanted is None:
        return
    reached = sum(box.pixels_at(wanted) >= TINY_PIXELS for box in missed)
    yield Advice(
        "medium",
        "Small boxes are missed at this input size",
        f"At an input size of {size}, {BOXES.in_words(len(tiny))} of the test images have a side below {TINY_PIXELS} "
        f"pixels, and {len(missed)} of them are missed; of the larger ones {others_missed} of {len(others)}. Try an "
        f"input size of {wanted}, at which {reached} of the {len(missed)} have {TINY_PIXELS} pixels or more; training "
        f"and prediction then take about {(wanted / size) ** 2:.1f} times as long. Or cut the images into parts.",
        tuple(dict.fromkeys(box.source_ref for box in missed)),
    )


def larger_input(wanted: Sequence[float], size: int) -> int | None:
    """Return the input size that is enough for half of the boxes, given what each wants; None without a larger one."""
    enough = min(LARGEST_INPUT, SIZE_STEP * math.ceil(median(wanted) / SIZE_STEP))
    return enough if enough > size else None


def _seen_boxes(facts: DetectionFacts) -> list[_SeenBox]:
    sides = {entry.source_ref: max(entry.width, entry.height) for entry in facts.inputs.entries.get("test", ())}
    return [
        _SeenBox(image.source_ref, min(box.width, box.height), sides[image.source_ref], is_missed)
        for image in facts.images
        if image.source_ref in sides
        for box, is_missed in _with_misses(image)
    ]


def _with_misses(image: JudgedImage) -> Iterator[tuple[BoundingBox, bool]]:
    missed = Counter(image.missed)
    for box in image.true_boxes:
        yield box, missed[box] > 0
        missed[box] -= 1


def _few_boxes(facts: DetectionFacts) -> Iterator[Advice]:
    metrics = facts.inputs.metrics
    figures = {**metrics.per_label, **(metrics.cross_validated.per_label if metrics.cross_validated else {})}
    return few_things(facts.counts, lambda label: figures[label].f1 if label in figures else 0.0, BOXES)


def _small_test(facts: DetectionFacts) -> Iterator[Advice]:
    if facts.inputs.metrics.cross_validated:
        return
    few: Mapping[str, int] = {
        label: facts.tested[label] for label in facts.inputs.labels if facts.tested[label] < FEW_TEST_BOXES
    }
    if few:
        each = enumerated(f"{quoted(label)} {count}" for label, count in sorted(few.items(), key=lambda one: one[::-1]))
        yield Advice(
            "medium",
            "The test split is too small to judge " + ("this label" if len(few) == 1 else f"{len(few)} labels"),
            f"Boxes to test on: {each}. With fewer than {FEW_TEST_BOXES}, one box moves a label's recall by more than "
            f"{100 // FEW_TEST_BOXES} points, and nothing was cross-validated. Turn cross-validation on, or give more "
            "images to the test split.",
        )


def _fold_spread(facts: DetectionFacts) -> Iterator[Advice]:
    crossed = facts.inputs.metrics.cross_validated
    if not crossed:
        return iter(())
    return wide_spread(Spread("mAP50", crossed.map_50, crossed.map_50_std, crossed.folds, crossed.per_label), BOXES)


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


_RULES: Sequence[Callable[[DetectionFacts], Iterable[Advice]]] = (
    _forgotten_boxes,
    _confused_pairs,
    _weak_labels,
    _few_boxes,
    _background,
    _small_boxes,
    _small_test,
    conflicting_copies,
    _fold_spread,
    unusable_files,
)
