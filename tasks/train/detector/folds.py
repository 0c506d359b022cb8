"""The k-fold estimate of a detector: every image is searched by a network that did not learn from it."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tasks.dataset.entries import ImageEntry
from tasks.errors import DataError
from tasks.metrics.classification import macro
from tasks.metrics.detection import (
    CrossValidatedDetection,
    coco_map_50,
    mark_given,
    measure_detections,
    measure_given_boxes,
)
from tasks.train.detector.predict import Detections
from tasks.train.detector.samples import Samples
from tasks.train.detector.thresholds import Judged, choose_thresholds

MIN_FOLDS = 2


def cross_validate(
    samples: Samples,
    entries: Sequence[ImageEntry],
    labels: Sequence[str],
    folds: int,
    seed: int,
    fold: Callable[[int, Samples, Samples], Detections],
    report: Callable[[int, int], None],
) -> tuple[CrossValidatedDetection, Judged]:
    """Estimate what the training reaches on images it has not seen; all boxes are pooled and scored once.

    A fold's thresholds are chosen on the boxes found in the other folds' images, so no image has a say in the
    threshold it is judged by.

    Args:
        samples: all images that take part.
        entries: of the same images.
        labels: label names by column.
        folds: number of folds; fewer when fewer images have boxes.
        seed: of the division into folds.
        fold: learns from the first samples and returns what it finds in the second ones.
        report: called with folds done and their number.

    Returns:
        The estimate, and the pooled boxes.
    """
    places = fold_places(entries, folds, seed)
    count = max(places) + 1
    pooled: Detections = [[] for _ in entries]
    for number in range(count):
        held_out = [i for i, place in enumerate(places) if place == number]
        learned = [i for i, place in enumerate(places) if place != number]
        found = fold(number, samples.take(learned), samples.take(held_out))
        for i, boxes in zip(held_out, found, strict=True):
            pooled[i] = boxes
        report(number + 1, count)
    judged = Judged("cross-validation", samples.truths, pooled)
    return _summarise(judged, places, count, labels), judged


def fold_places(entries: Sequence[ImageEntry], folds: int, seed: int) -> list[int]:
    """Return each image's fold: groups stay together, labels and images without boxes are spread evenly.

    Raises:
        DataError: when fewer than `MIN_FOLDS` groups have boxes.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        groups[entry.unit].append(place)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for members in groups.values():
        strata[" + ".join(sorted({label for i in members for label in entries[i].truth.labels}))].append(members)
    with_boxes = sum(len(found) for stratum, found in strata.items() if stratum)
    if with_boxes < MIN_FOLDS:
        raise DataError(
            "all boxes lie in one image or one group of images, so no fold could learn without it; leave "
            "evaluation.folds empty, or add images with boxes"
        )
    count = min(folds, with_boxes)
    random = np.random.default_rng(seed)
    places = [0] * len(entries)
    turn = 0
    for stratum in sorted(strata):
        for group in random.permutation(len(strata[stratum])):
            for i in strata[stratum][group]:
                places[i] = turn % count
            turn += 1
    return places


def _summarise(judged: Judged, places: Sequence[int], count: int, labels: Sequence[str]) -> CrossValidatedDetection:
    given: Detections = [[] for _ in places]
    cuts: list[Mapping[str, float]] = []
    scores = []
    for number in range(count):
        inside = [i for i, place in enumerate(places) if place == number]
        outside = [i for i, place in enumerate(places) if place != number]
        cut, _ = choose_thresholds(labels, [_part(judged, outside)])
        mine = _part(judged, inside)
        for i, boxes in zip(inside, mark_given(mine.detections, cut), strict=True):
            given[i] = boxes
        cuts.append(cut)
        if any(mine.truths):
            scores.append(coco_map_50(mine.truths, mine.detections, labels))
    mean_cuts = {label: float(np.mean([cut[label] for cut in cuts])) for label in labels}
    whole = measure_detections(judged.truths, judged.detections, labels, mean_cuts)
    per_label = measure_given_boxes(judged.truths, given, labels, mean_cuts)
    return CrossValidatedDetection(
        map=whole.map,
        map_50=whole.map_50,
        map_50_std=float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
        macro_f1=macro(per_label, "f1"),
        folds=count,
        images=len(places),
        per_label=per_label,
    )


def _part(judged: Judged, indices: Sequence[int]) -> Judged:
    return Judged(judged.name, [judged.truths[i] for i in indices], [judged.detections[i] for i in indices])
