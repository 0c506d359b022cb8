import numpy as np

from tasks.train.heads.scaling import Scaling
from tests.tasks.train.heads.blobs import blobs


def test_features_have_mean_0_and_variance_1() -> None:
    features, _ = blobs((20, 30), 6)
    rows = Scaling.of(features).rows(features)
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(rows.std(axis=0), 1.0)


def test_rounding_errors_are_no_feature() -> None:
    features, y = blobs((20, 30), 4)
    features[:, 0] = 7.3
    features[:, 1] = np.where(y, np.float32(3e4), np.nextafter(np.float32(3e4), np.float32(4e4)))
    features[:, 2] = np.where(y, 1e-6, 2e-6)
    rows = Scaling.of(features).rows(features)
    assert not rows[:, :2].any()
    np.testing.assert_allclose(rows[:, 2:].std(axis=0), 1.0)
