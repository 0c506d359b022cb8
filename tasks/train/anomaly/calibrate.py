"""From the scores of images that the memory had not seen to a limit, a slope and a threshold."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.anomaly import confidence_of, score_of
from tasks.bundle.format import AnomalyScoring
from tasks.metrics.classification import best_f1_threshold
from tasks.vision.heat_maps import Heat

MEDIAN_CONFIDENCE = 0.1
"""Of a normal image that was held out; the limit has one half."""
MIN_STEEPNESS, MAX_STEEPNESS = 2.0, 100.0
"""Scores of few images that all but agree would make a step of the confidence, which tells no more than the verdict."""
MIN_VALIDATION_ANOMALIES = 5
"""With fewer the best F1 is a matter of luck, and normal images alone decide."""
REGION_SHARE = 0.001
"""Share of the patches of held-out normal images that are as hot as an abnormal region."""
SMALLEST_LIMIT = 1e-6
"""Images that are all alike have distances of 0, and yet a limit above it."""
DEFAULT_THRESHOLD = 0.5
FROM_NORMAL, FROM_VALIDATION = "held-out normal images", "validation images"


def calibrate(heats: Sequence[Heat], unscaled: AnomalyScoring, false_alarm_rate: float) -> AnomalyScoring:
    """Return the scoring with limit, slope and region limit from heat maps of held-out normal images.

    The limit is the score that the share `false_alarm_rate` of them exceeds. Each was compared with a memory of a part
    of the images only, and so lies a little farther off than it will from the finished one: that is the margin.
    """
    scores = np.array([score_of(heat, unscaled) for heat in heats])
    limit = max(float(np.quantile(scores, 1.0 - false_alarm_rate)), SMALLEST_LIMIT)
    median = max(float(np.median(scores)), SMALLEST_LIMIT)
    odds = math.log(1.0 / MEDIAN_CONFIDENCE - 1.0)
    spread = max(math.log(limit / median), odds / MAX_STEEPNESS)
    hot = float(np.quantile(np.concatenate([heat.ravel() for heat in heats]), 1.0 - REGION_SHARE))
    return unscaled.model_copy(
        update={
            "limit": limit,
            "steepness": max(odds / spread, MIN_STEEPNESS),
            # Not above the limit: whatever makes an image abnormal can be shown.
            "region_limit": max(min(hot, limit), SMALLEST_LIMIT),
        }
    )


def choose_threshold(heats: Sequence[Heat], truth: NDArray[np.bool_], scoring: AnomalyScoring) -> tuple[float, str]:
    """Return the threshold of the confidence, and what it was chosen on.

    Args:
        heats: of the validation images.
        truth: which of them are abnormal. Where enough are, the best F1 decides, else the limit.
        scoring: calibrated.
    """
    if int(truth.sum()) < MIN_VALIDATION_ANOMALIES:
        return DEFAULT_THRESHOLD, FROM_NORMAL
    confidences = np.array([confidence_of(score_of(heat, scoring), scoring) for heat in heats])
    return best_f1_threshold(truth, confidences), FROM_VALIDATION
