"""How sure a share of a few images is."""

import math

NORMAL_95 = 1.96
"""Quantile of the normal distribution for a two-sided interval of 95 %."""


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share; holds for small counts and for shares of 0 and 1.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
    """
    if not count:
        return 0.0, 1.0
    z2 = NORMAL_95**2
    share = hits / count
    middle = share + z2 / (2 * count)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    whole = 1 + z2 / count
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)
