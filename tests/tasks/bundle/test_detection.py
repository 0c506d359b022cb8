import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms

from tasks.bundle.detection import (
    MIN_SIDE_PIXELS,
    ScoredBoxes,
    find_boxes,
    merge_overlaps,
    output_shapes,
    suppress_overlaps,
)
from tasks.bundle.format import BoxDecoding

SIZE = 64
STRIDES = (8, 16, 32)
LOCATIONS = 8 * 8 + 4 * 4 + 2 * 2


class _Features(torch.nn.Module):
    out_channels = 32


def _torch_boxes(outputs: dict[str, np.ndarray], decoding: BoxDecoding, content: tuple[int, int]) -> ScoredBoxes:
    """What torchvision's own decoding makes of the outputs, without boxes that lie in the padding."""
    anchors = AnchorGenerator(sizes=tuple((stride,) for stride in STRIDES), aspect_ratios=((1.0,),) * len(STRIDES))
    model = FCOS(
        _Features(),
        num_classes=2,
        anchor_generator=anchors,
        score_thresh=decoding.score_floor,
        nms_thresh=decoding.nms_iou,
        topk_candidates=decoding.candidates_per_level,
        detections_per_img=10**6,
    )
    counts = [(SIZE // stride) ** 2 for stride in STRIDES]
    names = {"class_logits": "cls_logits", "box_regression": "bbox_regression", "centreness": "bbox_ctrness"}
    split = {names[key]: list(torch.from_numpy(rows)[None].split(counts, 1)) for key, rows in outputs.items()}
    features = [torch.zeros(1, 1, SIZE // stride, SIZE // stride) for stride in STRIDES]
    batch = torch.zeros(1, 3, SIZE, SIZE)
    points = anchors(ImageList(batch, [(SIZE, SIZE)]), features)[0]
    found = model.postprocess_detections(split, [list(points.split(counts))], [content[::-1]])[0]
    boxes = ScoredBoxes(found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy())
    sides = boxes.edges[:, 2:] - boxes.edges[:, :2]
    return boxes[np.flatnonzero((sides >= MIN_SIDE_PIXELS).all(axis=1))[: decoding.max_boxes]]


def _random_outputs(seed: int, labels: int, low: float, high: float) -> dict[str, np.ndarray]:
    """Scores between low and high, evenly spaced, so that rounding cannot change their order."""
    rng = np.random.default_rng(seed)
    scores = rng.permutation(np.linspace(low, high, LOCATIONS * labels)).reshape(LOCATIONS, labels)
    centreness = rng.uniform(1.01 * high**2, 0.999, (LOCATIONS, 1))
    return {
        "class_logits": _logit(scores**2 / centreness).astype(np.float32),
        "box_regression": rng.gamma(1.5, 1.2, (LOCATIONS, 4)).astype(np.float32),
        "centreness": _logit(centreness).astype(np.float32),
    }


def _logit(probability: np.ndarray) -> np.ndarray:
    return np.log(probability / (1 - probability))


@pytest.mark.parametrize(
    ("labels", "low", "high", "content", "settings"),
    [
        pytest.param(1, 0.01, 0.5, (64, 64), {}, id="one label"),
        pytest.param(5, 0.001, 0.06, (64, 64), {}, id="few candidates"),
        pytest.param(5, 0.1, 0.9, (64, 64), {"max_boxes": 1000}, id="many candidates"),
        pytest.param(5, 0.01, 0.8, (64, 40), {"candidates_per_level": 30}, id="wide, candidates cut"),
        pytest.param(5, 0.01, 0.8, (17, 64), {"nms_iou": 0.3}, id="tall, strict suppression"),
        pytest.param(5, 0.01, 0.8, (64, 1), {}, id="one pixel high"),
        pytest.param(40, 0.01, 0.9, (64, 64), {"score_floor": 0.0, "max_boxes": 1000}, id="no floor, many labels"),
        pytest.param(3, 0.01, 0.95, (64, 64), {"score_floor": 0.9, "max_boxes": 1}, id="high floor, one box"),
        pytest.param(3, 0.001, 0.049, (64, 64), {}, id="nothing"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_boxes_are_those_of_torchvision(
    seed: int, labels: int, low: float, high: float, content: tuple[int, int], settings: dict[str, float]
) -> None:
    outputs = _random_outputs(seed, labels, low, high)
    decoding = BoxDecoding(strides=STRIDES, **settings)
    expected = _torch_boxes(outputs, decoding, content)
    found = find_boxes(outputs, decoding, SIZE, content)
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(found.edges, expected.edges, atol=1e-4)
    assert bool(len(found.scores)) == (high > decoding.score_floor)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.integers(0, 12),
            st.integers(1, 8),
            st.integers(1, 8),
            st.integers(0, 2),
            st.integers(1, 12),
        ),
        max_size=60,
    ),
    st.sampled_from([0.25, 0.5, 0.6, 1.0]),
    st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_suppression_is_that_of_torchvision(rows: list[tuple[int, ...]], max_iou: float, limit: int) -> None:
    table = np.array(rows, np.float32).reshape(-1, 6)
    edges = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)
    scores, labels = table[:, 5] / np.float32(13), table[:, 4].astype(np.intp)
    expected = batched_nms(torch.from_numpy(edges), torch.from_numpy(scores), torch.from_numpy(labels), max_iou)
    found = suppress_overlaps(ScoredBoxes(edges, scores, labels), max_iou, limit)
    assert found.tolist() == expected.tolist()[:limit]


@pytest.mark.parametrize(
    ("power", "left"),
    [
        pytest.param(0.0, 2.0, id="plain mean"),
        pytest.param(1.0, 1.6, id="by score"),
        pytest.param(2.0, 1.3, id="square"),
    ],
)
def test_merged_box_is_the_mean_of_those_it_stands_for(power: float, left: float) -> None:
    edges = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [4, 0, 14, 10], [40, 0, 50, 10]], np.float32)
    scores, labels = np.array([0.6, 0.4, 0.9, 0.3], np.float32), np.array([0, 0, 1, 0])
    merged = merge_overlaps(ScoredBoxes(edges, scores, labels), 0.4, 10, power)
    # The surest is of another label, and what overlaps nothing stays where it is.
    np.testing.assert_allclose(merged.edges[0], edges[2])
    assert merged.edges[1, 0] == pytest.approx(left, abs=0.1)
    assert merged.edges[1, 2] - merged.edges[1, 0] == pytest.approx(10)
    np.testing.assert_allclose(merged.edges[2], edges[3])
    assert merged.scores.tolist() == pytest.approx([0.9, 0.6, 0.3])
    assert merged.labels.tolist() == [1, 0, 0]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2, st.integers(0, 1)), max_size=12),
    st.sampled_from((0.0, 0.3, 0.5)),
    st.integers(1, 12),
)
def test_merging_keeps_what_suppression_keeps(rows: list[tuple[int, ...]], max_iou: float, limit: int) -> None:
    edges = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows], np.float32).reshape(-1, 4)
    scores, labels = np.linspace(0.9, 0.1, len(rows), dtype=np.float32), np.array([row[4] for row in rows], np.intp)
    found = ScoredBoxes(edges, scores, labels)
    merged, kept = merge_overlaps(found, max_iou, limit, 2.0), found[suppress_overlaps(found, max_iou, limit)]
    np.testing.assert_array_equal(merged.scores, kept.scores)
    np.testing.assert_array_equal(merged.labels, kept.labels)
    # A mean lies among what it is made of.
    for box, label in zip(merged.edges, merged.labels, strict=True):
        own = edges[labels == label]
        assert (own.min(axis=0) - 1e-4 <= box).all()
        assert (box <= own.max(axis=0) + 1e-4).all()


@pytest.mark.parametrize("weight", [0.0, 1 / 3, 0.5, 1.0])
def test_score_weighs_label_and_centreness(weight: float) -> None:
    outputs = {
        "class_logits": np.full((LOCATIONS, 1), -20, np.float32),
        "box_regression": np.ones((LOCATIONS, 4), np.float32),
        "centreness": np.full((LOCATIONS, 1), -20, np.float32),
    }
    outputs["class_logits"][27], outputs["centreness"][27] = _logit(np.array(0.8)), _logit(np.array(0.2))
    found = find_boxes(outputs, BoxDecoding(strides=STRIDES, centreness_weight=weight), SIZE, (SIZE, SIZE))
    assert found.scores[0] == pytest.approx(0.8 ** (1 - weight) * 0.2**weight, abs=1e-6)


def test_decoding_merges_when_it_is_asked_to() -> None:
    outputs = _random_outputs(3, 2, 0.2, 0.8)
    plain = BoxDecoding(strides=STRIDES, nms_iou=0.4)
    alone = find_boxes(outputs, plain, SIZE, (SIZE, SIZE))
    merged = find_boxes(outputs, plain.model_copy(update={"merge_power": 2.0}), SIZE, (SIZE, SIZE))
    np.testing.assert_array_equal(merged.scores, alone.scores)
    assert np.abs(merged.edges - alone.edges).max() > 0.5
    assert (merged.edges >= 0).all()
    assert (merged.edges <= SIZE).all()


def test_equally_sure_boxes_keep_the_order_of_level_location_and_label() -> None:
    outputs = _random_outputs(0, 2, 0.1, 0.9)
    outputs["class_logits"][:] = outputs["centreness"][:] = 0
    outputs["box_regression"][:] = 0.1
    decoding = BoxDecoding(strides=STRIDES, candidates_per_level=6, max_boxes=1000)
    found = find_boxes(outputs, decoding, SIZE, (SIZE, SIZE))
    assert found.labels.tolist() == [0, 1] * 9
    assert found.edges[::2, 2].tolist() == pytest.approx([0.8, 8.8, 16.8, 1.6, 17.6, 33.6, 3.2, 35.2, 3.2])


def test_levels_have_their_own_candidates_and_strides() -> None:
    outputs = _random_outputs(0, 1, 1e-6, 1e-5)
    outputs["centreness"][:] = 30
    for logit, location in {5.0: 8 + 3, 4.0: 64 + 2 * 4 + 1, 3.0: 64 + 16 + 3}.items():
        outputs["class_logits"][location] = logit
        outputs["box_regression"][location] = (0.5, 0.25, 1.0, 0.75)
    found = find_boxes(outputs, BoxDecoding(strides=STRIDES), SIZE, (SIZE, SIZE))
    assert found.edges.tolist() == [[20, 6, 32, 14], [8, 28, 32, 44], [16, 24, 64, 56]]
    np.testing.assert_allclose(found.scores, np.sqrt(1 / (1 + np.exp(-np.array([5.0, 4.0, 3.0])))), atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("name", ["class_logits", "box_regression", "centreness"])
def test_numbers_that_are_not_finite_leave_sound_boxes(name: str, value: float) -> None:
    outputs = _random_outputs(0, 3, 0.1, 0.9)
    outputs[name][::2] = value
    found = find_boxes(outputs, BoxDecoding(strides=STRIDES), SIZE, (SIZE, 40))
    assert len(found.scores) > 0
    assert np.isfinite(found.edges).all()
    assert np.isfinite(found.scores).all()
    assert (found.edges[:, 2:] > found.edges[:, :2]).all()
    assert (found.edges >= 0).all()
    assert (found.edges <= (SIZE, 40, SIZE, 40)).all()


def test_negative_distances_are_no_boxes() -> None:
    outputs = _random_outputs(0, 3, 0.1, 0.9)
    outputs["box_regression"][:] = -1.0
    assert len(find_boxes(outputs, BoxDecoding(strides=STRIDES), SIZE, (SIZE, SIZE)).scores) == 0


def test_output_shapes_count_the_locations_of_all_levels() -> None:
    shapes = output_shapes(BoxDecoding(strides=STRIDES), SIZE, 7)
    assert shapes == {"class_logits": (LOCATIONS, 7), "box_regression": (LOCATIONS, 4), "centreness": (LOCATIONS, 1)}
