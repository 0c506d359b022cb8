"""The memory covers the candidates as a slow search does, and its graph gives true distances."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tasks.bundle.predictor import OnnxNetwork
from tasks.train.anomaly.memory import choose_memory, memory_to_onnx


@pytest.fixture
def patches() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 40)) * 20
    return np.repeat(centres, 50, axis=0).astype(np.float32) + rng.normal(size=(600, 40)).astype(np.float32)


def test_every_kind_of_patch_is_remembered(patches: np.ndarray) -> None:
    chosen = choose_memory(patches, 12, seed=3)
    assert len(set(chosen.tolist())) == 12
    assert set((chosen // 50).tolist()) == set(range(12))
    drawn = np.random.default_rng(3).choice(len(patches), 12, replace=False)
    assert len(set((drawn // 50).tolist())) < 12  # chance alone forgets some


def test_no_patch_lies_much_farther_off_than_with_a_slow_greedy_search(patches: np.ndarray) -> None:
    chosen = choose_memory(patches, 40, seed=0)
    distances = cdist(patches, patches)
    slow = [int(chosen[0])]
    while len(slow) < 40:
        slow.append(int(distances[slow].min(axis=0).argmax()))
    farthest, of_slow = (distances[places].min(axis=0).max() for places in (chosen, slow))
    assert farthest < 1.15 * of_slow


def test_equal_seeds_choose_equally_and_small_sets_are_kept_whole(patches: np.ndarray) -> None:
    np.testing.assert_array_equal(choose_memory(patches, 30, 1), choose_memory(patches, 30, 1))
    assert not np.array_equal(choose_memory(patches, 30, 1), choose_memory(patches, 30, 2))
    np.testing.assert_array_equal(choose_memory(patches[:5], 30, 1), np.arange(5))


def test_patches_that_are_all_alike_are_chosen_once_each() -> None:
    chosen = choose_memory(np.ones((20, 8), np.float32), 10, 0)
    assert len(set(chosen.tolist())) == 10


def test_graph_gives_distances_to_the_nearest(patches: np.ndarray) -> None:
    # Far from the origin single precision would lose them, but for the centre.
    far = patches + 1000.0
    memory, asked = far[::7], far[1::13]
    found = OnnxNetwork(memory_to_onnx(memory)).run(asked)
    np.testing.assert_allclose(found, cdist(asked, memory).min(axis=1), rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(OnnxNetwork(memory_to_onnx(memory)).run(memory[:5]), 0.0, atol=0.1)
