"""What the answers through an endpoint show of a version: that it is the one, and answers as its bundle does here."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from tasks.bundle.anomaly import are_its_regions
from tasks.bundle.format import AnomalyScoring
from tasks.bundle.predictor import Prediction
from tasks.metrics.matching import MAX_BOX_SHIFT_PIXELS, edge_difference, pair_same_boxes
from tasks.promote.endpoint_answers import EndpointAnswer


class EndpointOutcome(BaseModel, frozen=True, extra="forbid"):
    """How a version fared through the endpoint.

    Attributes:
        passed: whether every check held.
        reasons: a sentence per check that failed.
        warnings: what else a person should know, a sentence each; of a rollback, which these do not hold up.
        images: number of images sent.
        version: that answered; of a mixed answer all of them, separated by commas.
        max_confidence_drift: largest difference of a confidence from the bundle's own answer; 1 where the answers
            cannot be paired.
        max_box_shift_pixels: largest distance of a box's edge from where the bundle itself finds it.
        latency_ms_p50: median time of an answer, 8 images at once (milliseconds).
        latency_ms_p95: 95th percentile of the same.
    """

    passed: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    images: int = 0
    version: str = ""
    max_confidence_drift: float = 0.0
    max_box_shift_pixels: float = 0.0
    latency_ms_p50: float = 0.0
    latency_ms_p95: float = 0.0


def compare_with_expected(
    expected: Sequence[Prediction],
    answers: Sequence[EndpointAnswer],
    *,
    thresholds: Mapping[str, float],
    version: str,
    bundle_digest: str,
    max_confidence_drift: float,
    max_latency_ms: float,
    scoring: AnomalyScoring | None = None,
    is_rollback: bool = False,
) -> EndpointOutcome:
    """Compare what the endpoint answered with what the version's bundle answers here, and with the limits.

    Args:
        expected: answers of the bundle itself.
        answers: of the endpoint, to the same images.
        thresholds: of the bundle, per label, 0 to 1: what is that close to its own may be told or not.
        version: that must have answered.
        bundle_digest: of that version.
        max_confidence_drift: largest difference allowed between two confidences, 0 to 1.
        max_latency_ms: longest time allowed, 95th percentile (milliseconds).
        scoring: of the bundle when it is an anomaly model, whose boxes lie around the hot regions of its heat maps.
        is_rollback: the version was in use before, and somebody needs it back: that the machine is slow just now, or
            that there is no image left to send, is a warning.
    """
    answered = [(one, other) for one, other in zip(answers, expected, strict=True) if not one.problem]
    pairs = [_compared(*pair, thresholds, scoring, max_confidence_drift) for pair in answered]
    drift, shift = max((one[0] for one in pairs), default=0.0), max((one[1] for one in pairs), default=0.0)
    times = [answer.milliseconds for answer, _ in answered] or [0.0]
    p50, p95 = (float(np.percentile(times, q)) for q in (50, 95))
    reasons = [
        *_unanswered(answers),
        *_answered_by_others([answer for answer, _ in answered], version, bundle_digest),
        *_beyond(
            drift,
            max_confidence_drift,
            "an answer differs by {} from the bundle's own (1: other labels or boxes)",
            "max_confidence_drift",
        ),
        *_beyond(shift, MAX_BOX_SHIFT_PIXELS, "an edge of a box lies {} pixels from the bundle's own", "the limit"),
    ]
    unsure = [
        *(() if answers else ("no image was sent, so nothing is known of the version's answers",)),
        *_beyond(p95, max_latency_ms, "an answer takes {} ms (95th percentile)", "max_latency_ms"),
    ]
    if not is_rollback:
        reasons, unsure = [*reasons, *unsure], []
    return EndpointOutcome(
        passed=not reasons,
        reasons=tuple(f"endpoint: {reason}" for reason in reasons),
        warnings=tuple(f"endpoint: {reason}" for reason in unsure),
        images=len(answers),
        version=", ".join(sorted({answer.version for answer, _ in answered})),
        max_confidence_drift=drift,
        max_box_shift_pixels=shift,
        latency_ms_p50=round(p50, 3),
        latency_ms_p95=round(p95, 3),
    )


def _compared(
    answer: EndpointAnswer,
    prediction: Prediction,
    thresholds: Mapping[str, float],
    scoring: AnomalyScoring | None,
    allowed: float,
) -> tuple[float, float]:
    """Return the largest difference of a confidence (1 where answers cannot be paired) and of a box's edge (pixels)."""
    known = prediction.confidences.keys()
    if answer.confidences.keys() != known or not {*answer.labels, *(box.label for box in answer.boxes)} <= known:
        return 1.0, 0.0
    if scoring and not _are_around_its_heat(answer, prediction, scoring):
        return 1.0, 0.0
    given = tuple(box for box in prediction.boxes if box.is_given)
    boxes, expected = ((), ()) if scoring else (answer.boxes, given)
    pairs, unpaired = pair_same_boxes(boxes, expected, allowed)
    told_once = [
        *((label, prediction.confidences[label]) for label in set(answer.labels) ^ set(prediction.labels)),
        *((box.label, box.confidence) for box in unpaired),
    ]
    # What lies on its threshold may be told once and not again; anything else is another answer.
    if any(abs(confidence - thresholds[label]) > allowed for label, confidence in told_once):
        return 1.0, 0.0
    differences = [abs(value - prediction.confidences[label]) for label, value in answer.confidences.items()]
    differences += [abs(one.confidence - other.confidence) for one, other in pairs]
    return max(differences), max((edge_difference(one, other) for one, other in pairs), default=0.0)


def _are_around_its_heat(answer: EndpointAnswer, prediction: Prediction, scoring: AnomalyScoring) -> bool:
    if not answer.labels or prediction.heat_map is None:
        return not answer.boxes
    return are_its_regions(answer.boxes, prediction.heat_map, scoring, answer.width, answer.height)


def _unanswered(answers: Sequence[EndpointAnswer]) -> list[str]:
    problems = [(place, one.problem) for place, one in enumerate(answers, 1) if one.problem]
    if not problems:
        return []
    place, first = problems[0]
    return [f"{len(problems)} of {len(answers)} images got no answer, the first of them image {place}: {first}"]


def _answered_by_others(answers: Sequence[EndpointAnswer], version: str, bundle_digest: str) -> list[str]:
    others = [one for one in answers if (one.version, one.bundle_digest) != (version, bundle_digest)]
    if not others:
        return []
    by = ", ".join(sorted({f"{one.version[:20]} ({one.bundle_digest[:12]})" for one in others}))
    mixed = "a mixed answer: " if len(others) < len(answers) else ""
    return [
        f"{mixed}{len(others)} of {len(answers)} answers were made by version {by}, "
        f"not by {version} ({bundle_digest[:12]}), to which the alias was moved"
    ]


def _beyond(value: float, limit: float, sentence: str, name: str) -> list[str]:
    return [f"{sentence.format(f'{value:.3g}')}, more than {name} {limit:g}"] if value > limit else []
