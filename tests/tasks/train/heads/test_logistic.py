from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tasks.train.heads import logistic
from tasks.train.heads.logistic import STRENGTHS, fit_logistic
from tests.tasks.train.heads.blobs import blobs


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize(
    ("counts", "width"),
    [((20, 30), 10), ((20, 30), 200), ((10, 15, 25), 8), ((10, 15, 25), 300), ((25, 25), 50)],
    ids=["2 labels, few features", "2 labels, many", "3 labels, few features", "3 labels, many", "square"],
)
def test_path_is_the_plain_pipeline(
    counts: tuple[int, ...], width: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At the default tolerance two solvers stop up to 0.005 apart; what is compared here is the solution.
    exact = partial(LogisticRegression, tol=1e-8)
    monkeypatch.setattr(logistic, "LogisticRegression", exact)
    features, y = blobs(counts, width, 0.3)
    trained, held_out = features[::2], features[1::2]
    fitted = next(fit_logistic(trained, y[::2], [{"strength": strength}], 0))
    plain = Pipeline(
        [
            ("scale", StandardScaler()),
            ("classify", exact(C=strength, class_weight="balanced", max_iter=5000)),
        ]
    ).fit(trained.astype(np.float64), y[::2])
    for rows in (trained, held_out):
        expected = plain.predict_proba(rows.astype(np.float64))
        np.testing.assert_allclose(fitted.probabilities(rows), expected, atol=1e-3)


@pytest.mark.parametrize("width", [6, 90], ids=["few features", "many"])
def test_rounding_errors_say_nothing(width: int) -> None:
    features, y = blobs((20, 30), width, 0.3)
    features[:, 0] = 3e4
    nudged = features.copy()
    nudged[:, 0] = np.nextafter(np.float32(3e4), np.float32(4e4))
    features[::7, 0] = nudged[0, 0]
    model = next(fit_logistic(features, y, [{"strength": 1.0}], 0))
    np.testing.assert_array_equal(model.probabilities(nudged), model.probabilities(features))
