import numpy as np
import pytest

from tasks.train.heads import neighbours as neighbours_module
from tasks.train.heads.neighbours import SHARED_VOTE, fit_neighbours
from tests.tasks.train.heads.blobs import blobs


def _shares(known: np.ndarray, y: np.ndarray, place: np.ndarray, neighbours: int) -> list[float]:
    """Count votes by hand: weight 1 at distance 0, falling with the square to 0 at the first that is no neighbour."""
    squares = ((known - place) ** 2).sum(axis=1)
    reach = np.sort(squares)[neighbours]
    votes = [
        sum(max(0.0, 1 - d / reach) * len(y) / (y.max() + 1) / (y == label).sum() for d in squares[y == label])
        for label in range(y.max() + 1)
    ]
    return [(vote + SHARED_VOTE / len(votes)) / (sum(votes) + SHARED_VOTE) for vote in votes]


@pytest.mark.parametrize("neighbours", [1, 3, 7])
def test_votes_are_weighted_by_nearness_and_label(neighbours: int) -> None:
    features, y = blobs((10, 20, 30), 4, 0.5)
    unseen = blobs((5, 5, 5), 4, 0.5, seed=1)[0]
    model = next(fit_neighbours(features, y, [{"neighbours": neighbours, "components": 4}], 0))
    mean, spread = features.astype(float).mean(axis=0), features.astype(float).std(axis=0)
    known, places = (features - mean) / spread, (unseen - mean) / spread
    expected = [_shares(known, y, place, neighbours) for place in places]
    np.testing.assert_allclose(model.probabilities(unseen), expected, atol=1e-6)


def test_images_in_blocks_get_the_same_answers(monkeypatch) -> None:
    features, y = blobs((10, 20), 4, 0.5)
    model = next(fit_neighbours(features, y, [{"neighbours": 3, "components": 4}], 0))
    at_once = model.probabilities(features)
    monkeypatch.setattr(neighbours_module, "BLOCK_IMAGES", 7)
    np.testing.assert_allclose(model.probabilities(features), at_once, atol=1e-12)


def test_answers_change_smoothly() -> None:
    features, y = blobs((20, 20), 5, 0.5)
    model = next(fit_neighbours(features, y, [{"neighbours": 3, "components": 5}], 0))
    way = np.linspace(features[0], features[-1], 2001).astype(np.float32)
    shares = model.probabilities(way)[:, 0]
    assert np.ptp(shares) > 0.5
    assert np.abs(np.diff(shares)).max() < 0.05


def test_components_keep_the_directions_that_vary() -> None:
    features, y = blobs((20, 20), 6, 0.0)
    features = np.concatenate([features, features[:, :1].repeat(30, axis=1)], axis=1)
    model = next(fit_neighbours(features, y, [{"neighbours": 3, "components": 1}], 0))
    one = np.abs(model.basis[:, 0])
    assert model.basis.shape == (36, 1)
    assert one[6:].min() > one[1:6].max()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_fewer_images_than_neighbours(count: int) -> None:
    features, y = blobs((count, count), 10, 3.0)
    model = next(fit_neighbours(features, y, [{"neighbours": 15, "components": 32}], 0))
    assert (model.probabilities(features).argmax(axis=1) == y).all()
