"""Rules on what the figures say of the model: thresholds, spread, calibration, test against cross-validation."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.report.facts import Advice, Facts, HeldOutImage, count_images, quoted
from tasks.report.multi_label_facts import MultiLabelFacts
from tasks.report.shared_advice import IMAGES, Spread, wide_spread

LOW_PRECISION, HIGH_RECALL = 0.8, 0.8
WANTED_PRECISION, WANTED_RECALL = 0.9, 0.5
MIN_THRESHOLD_IMAGES = 10
LARGE_GAP = 0.05
MAX_CHANCE = 0.01
"""A difference that chance makes more often than this is not spoken of."""
POOR_CALIBRATION = 0.1
MIN_CALIBRATION_IMAGES = 30
MAX_CHANCE_ERRORS = 2.5
"""A mean within this many standard errors of 0 is taken for 0 (about 1 in 80 lies outside by chance)."""
MIN_UNCLEAR_IMAGES, MIN_UNCLEAR_SHARE = 3, 0.15


def gap_to_test(facts: Facts) -> Iterator[Advice]:
    """Compare the test images with cross-validation."""
    if not facts.tested or not facts.crossed:
        return
    (test_right, tests), (right, crossed) = _right_of(facts.tested), _right_of(facts.crossed)
    test_rate, rate = test_right / tests, right / crossed
    if abs(test_rate - rate) < LARGE_GAP or chance_of_gap(test_right, tests, right, crossed) > MAX_CHANCE:
        return
    figures = (
        f"{test_right} of {tests} test images are right ({test_rate:.3f}), against {right} of {crossed} in "
        f"cross-validation ({rate:.3f}); chance alone rarely makes such a difference."
    )
    if test_rate < rate:
        text = (
            "Either the test images differ from those learned from (other camera, light, lot): then add such images; "
            "or the training images hold several pictures of the same part, which flatters cross-validation."
        )
        yield Advice("high", "The test images fare worse than cross-validation", f"{figures} {text}")
    else:
        text = "The test images may be easier than what will come: check that they show all lots and conditions."
        yield Advice("medium", "The test images fare better than cross-validation", f"{figures} {text}")


def chance_of_gap(hits: int, count: int, other_hits: int, other_count: int) -> float:
    """Return how likely two equally good sets differ as much (Fisher's exact test, twice the smaller tail)."""
    total, right = count + other_count, hits + other_hits
    ways = [
        math.comb(count, k) * math.comb(other_count, right - k) if 0 <= right - k <= other_count else 0
        for k in range(count + 1)
    ]
    tail = min(sum(ways[: hits + 1]), sum(ways[hits:]))
    return min(1.0, 2 * tail / math.comb(total, right))


def thresholds(facts: Facts | MultiLabelFacts) -> Iterator[Advice]:
    """Find labels that are given too readily, and the threshold that would not."""
    for label, metrics in facts.inputs.metrics.per_label.items():
        truth = np.array([label in image.truth for image in facts.crossed], dtype=np.bool_)
        confidence = np.array([image.confidences.get(label, 0.0) for image in facts.crossed], dtype=np.float64)
        given = confidence >= metrics.threshold
        hits, answers, support = int((given & truth).sum()), int(given.sum()), int(truth.sum())
        if support < MIN_THRESHOLD_IMAGES or hits >= LOW_PRECISION * answers or hits < HIGH_RECALL * support:
            continue
        better = stricter_threshold(truth, confidence)
        if better is None or better[2] < WANTED_RECALL:
            continue
        threshold, precision, recall = better
        yield Advice(
            "medium",
            f"{quoted(label)} is given too readily",
            f"At its threshold {metrics.threshold:.3f}, {hits} of the {answers} cross-validated images given it carry "
            f"it (precision {hits / answers:.3f}, recall {hits / support:.3f}). From {threshold:.3f} on, precision "
            f"would have been {precision:.3f} and recall {recall:.3f}. Where a false alarm costs more than a miss, act "
            "on the higher confidence only; the value was found on these images, so confirm it on new ones.",
        )


def stricter_threshold(
    truth: NDArray[np.bool_], confidence: NDArray[np.float64], precision: float = WANTED_PRECISION
) -> tuple[float, float, float] | None:
    """Return the lowest threshold that reaches a precision, with its precision and recall; None without one.

    Args:
        truth: N booleans.
        confidence: N floats, 0 to 1.
        precision: to reach, 0 to 1.
    """
    if not truth.any():
        return None
    order = np.argsort(-confidence, kind="stable")
    ranked, hits = confidence[order], np.cumsum(truth[order])
    below = np.append(ranked[1:], 0.0)
    precisions = hits / np.arange(1, len(ranked) + 1)
    reached = np.flatnonzero((precisions >= precision) & (ranked > below))
    if not len(reached):
        return None
    last = int(reached[-1])
    return float((ranked[last] + below[last]) / 2), float(precisions[last]), float(hits[last] / truth.sum())


def fold_spread(facts: Facts | MultiLabelFacts) -> Iterator[Advice]:
    """Tell when the folds differ much."""
    crossed = facts.inputs.metrics.cross_validated
    if not crossed:
        return iter(())
    spread = Spread("Macro-F1", crossed.macro_f1, crossed.macro_f1_std, crossed.folds, crossed.per_label)
    return wide_spread(spread, IMAGES)


def calibration(facts: Facts) -> Iterator[Advice]:
    """Tell when confidences are no probabilities."""
    if len(facts.images) < MIN_CALIBRATION_IMAGES:
        return
    # Per image: how much the confidence exceeds what came true. Its mean is 0 when confidences are probabilities.
    excess = np.array([image.confidence - image.is_right for image in facts.images])
    mean, error = float(excess.mean()), float(excess.std(ddof=1) / math.sqrt(len(excess)))
    if abs(mean) < max(POOR_CALIBRATION, MAX_CHANCE_ERRORS * error):
        return
    confidence = float(np.mean([image.confidence for image in facts.images]))
    figures = (
        f"On {count_images(len(excess))} that the model had not seen, the highest confidence is {confidence:.3f} on "
        f"average and {confidence - mean:.3f} of the answers are right (expected calibration error on the test images: "
        f"{facts.inputs.metrics.calibration_error:.3f})."
    )
    if mean > 0:
        text = "Do not read a confidence as a probability: it promises too much."
        yield Advice("medium", "Confidences are too high", f"{figures} {text}")
    else:
        text = "A low confidence is thus no sign of a wrong answer; compare it with the label's threshold instead."
        yield Advice("low", "Confidences are lower than they need be", f"{figures} {text}")


def unclear_answers(facts: Facts) -> Iterator[Advice]:
    """Tell when thresholds often give no label or several."""
    given = [len(prediction.given) for prediction in facts.inputs.predictions]
    none, several = given.count(0), sum(count > 1 for count in given)
    if none + several >= MIN_UNCLEAR_IMAGES and none + several >= MIN_UNCLEAR_SHARE * len(given):
        yield Advice(
            "medium",
            "The thresholds often give no label or several",
            f"Of {count_images(len(given))} in the test split, {several} reach the threshold of more than one label, "
            f"{none} of none. Where exactly one answer is needed, take the label with the highest confidence, and have "
            "images that reach no threshold looked at by a person.",
        )


def _right_of(images: Sequence[HeldOutImage]) -> tuple[int, int]:
    return sum(image.is_right for image in images), len(images)
