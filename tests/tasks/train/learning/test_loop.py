import numpy as np
import pytest

from tasks.train.learning.loop import FINAL_RATE, rate_at


@pytest.mark.parametrize(("total", "warm_up"), [(100, 0.1), (37, 0.5), (10, 0.0), (1, 0.1), (3, 0.9)])
def test_rate_rises_and_falls(total, warm_up):
    rates = [rate_at(step, total, warm_up) for step in range(total)]
    rise = max(1, round(warm_up * total))
    np.testing.assert_allclose(rates[:rise], np.arange(1, rise + 1) / rise)
    assert max(rates) == 1.0
    assert all(one >= two for one, two in zip(rates[rise:], rates[rise + 1 :], strict=False))
    assert min(rates) > 0
    if rise < total:
        assert rate_at(total, total, warm_up) == pytest.approx(FINAL_RATE)
        middle = rise + (total - rise) / 2
        assert rate_at(middle, total, warm_up) == pytest.approx((1 + FINAL_RATE) / 2)
