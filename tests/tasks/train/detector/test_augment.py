import numpy as np
import pytest
import torch

from tasks.train.detector.augment import MIN_SIDE_PIXELS, Augmentation

SIDE = 96
RECTANGLE = (30, 24, 66, 60)
CHANGING = ("light", "standard", "strong")
MAX_DEGREES = 10.0


def painted(*rectangles, channels=(1,)):
    """Black, with a rectangle (left, top, right, bottom) in one pure colour for each channel."""
    image = torch.zeros((3, SIDE, SIDE), dtype=torch.uint8)
    for (left, top, right, bottom), channel in zip(rectangles, channels, strict=True):
        image[channel, top:bottom, left:right] = 255
    return image


def boxes_of(*rectangles):
    return torch.tensor(rectangles, dtype=torch.float32).reshape(-1, 4)


def seen(image, channel=1):
    """Where a colour outshines the others: left, top, right, bottom; None when it is nowhere."""
    values = image.numpy().astype(int)
    lead = values[channel] - np.max(np.delete(values, channel, axis=0), axis=0)
    if lead.max() < 40:
        return None
    rows, columns = np.nonzero(lead > lead.max() / 2)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def augmented(strength, seed, image, boxes, labels):
    torch.manual_seed(seed)
    return Augmentation(strength)(image, boxes, labels)


def painted_ellipse(left, top, right, bottom):
    """Black, with a green ellipse that fills a rectangle."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    centre, half = ((left + right - 1) / 2, (top + bottom - 1) / 2), ((right - left) / 2, (bottom - top) / 2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image[((columns - centre[0]) / half[0]) ** 2 + ((rows - centre[1]) / half[1]) ** 2 <= 1, 1] = 255
    return torch.from_numpy(image).permute(2, 0, 1)


@pytest.mark.parametrize("rectangle", [RECTANGLE, (40, 20, 52, 72)], ids=["square", "narrow"])
@pytest.mark.parametrize("strength", CHANGING)
def test_box_follows_its_pixels(strength, rectangle):
    inside = 0
    for seed in range(80):
        image, boxes, labels = augmented(
            strength, seed, painted_ellipse(*rectangle), boxes_of(rectangle), torch.tensor([3])
        )
        assert labels.tolist() == [3]
        box, pixels = boxes[0].numpy(), np.array(seen(image))
        if box.min() > 0 and box.max() < SIDE:
            inside += 1
            assert np.abs(box - pixels).max() <= 1.6, seed
    assert inside >= 20


@pytest.mark.parametrize("strength", CHANGING)
def test_box_that_is_cut_off_ends_at_the_picture(strength):
    rectangle = (0, 30, 40, 60)
    cut = 0
    for seed in range(80):
        image, boxes, _ = augmented(strength, seed, painted(rectangle), boxes_of(rectangle), torch.tensor([3]))
        box, pixels = boxes[0].numpy(), np.array(seen(image))
        assert (box >= 0).all()
        assert (box <= SIDE).all()
        cut += bool(pixels[0] == 0 or pixels[2] == SIDE)
        assert np.abs(box - pixels).max() <= 5.0, seed
    assert cut >= 20


@pytest.mark.parametrize("strength", CHANGING)
def test_pictures_differ_in_place_and_light(strength):
    results = [
        augmented(strength, seed, painted(RECTANGLE), boxes_of(RECTANGLE), torch.tensor([0])) for seed in range(12)
    ]
    assert len({tuple(boxes[0].tolist()) for _, boxes, _ in results}) == 12
    assert len({int(image.max()) for image, _, _ in results}) > 3


def test_stronger_moves_further():
    def mean_move(strength):
        moves = []
        for seed in range(60):
            _, boxes, _ = augmented(strength, seed, painted(RECTANGLE), boxes_of(RECTANGLE), torch.tensor([0]))
            moves.append(float((boxes[0, 1:4:2] - torch.tensor([24.0, 60.0])).abs().mean()))
        return np.mean(moves)

    light, standard, strong = (mean_move(strength) for strength in CHANGING)
    assert 0 < light < standard < strong


def test_none_changes_nothing():
    image, boxes, labels = augmented("none", 0, painted(RECTANGLE), boxes_of(RECTANGLE), torch.tensor([1]))
    assert torch.equal(image, painted(RECTANGLE))
    assert boxes.tolist() == [list(RECTANGLE)]
    assert labels.tolist() == [1]


@pytest.mark.parametrize("strength", CHANGING)
def test_labels_stay_with_their_boxes(strength):
    rectangles = [(4, 30, 30, 60), (36, 10, 60, 40), (64, 50, 92, 80)]
    for seed in range(30):
        image, boxes, labels = augmented(
            strength, seed, painted(*rectangles, channels=(2, 0, 1)), boxes_of(*rectangles), torch.tensor([2, 0, 1])
        )
        assert len(boxes) == len(labels) > 0
        for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            if min(right - left, bottom - top) > 8:
                middle = image[:, int((top + bottom) / 2), int((left + right) / 2)]
                assert int(middle.argmax()) == label, seed


def test_box_that_left_the_picture_is_dropped_with_its_label():
    corner, middle = (0, 0, 6, 6), (40, 40, 70, 70)
    dropped = 0
    for seed in range(60):
        image, boxes, labels = augmented(
            "strong", seed, painted(corner, middle, channels=(0, 1)), boxes_of(corner, middle), torch.tensor([5, 7])
        )
        assert labels.tolist() in ([5, 7], [7])
        if labels.tolist() == [7]:
            dropped += 1
            place = seen(image, channel=0)
            assert place is None or min(place[2] - place[0], place[3] - place[1]) <= MIN_SIDE_PIXELS + 1
        assert (boxes >= 0).all()
        assert (boxes <= SIDE).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE_PIXELS).all()
    assert 5 <= dropped <= 55


@pytest.mark.parametrize("strength", ["none", *CHANGING])
def test_picture_without_boxes_passes(strength):
    image, boxes, labels = augmented(
        strength, 1, painted(RECTANGLE), torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64)
    )
    assert image.shape == (3, SIDE, SIDE)
    assert image.dtype == torch.uint8
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)
    assert (strength == "none") == torch.equal(image, painted(RECTANGLE))


@pytest.mark.parametrize("strength", CHANGING)
def test_equal_seeds_give_equal_pictures(strength):
    first, second, other = (
        augmented(strength, seed, painted(RECTANGLE), boxes_of(RECTANGLE), torch.tensor([0])) for seed in (4, 4, 5)
    )
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_margin_that_comes_in_has_the_colour_of_the_padding():
    blank = torch.tensor([124, 116, 104], dtype=torch.uint8)[:, None, None].expand(3, SIDE, SIDE).contiguous()
    for seed in range(10):
        image, *_ = augmented("strong", seed, blank, torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64))
        assert float(image.flatten(1).float().std(dim=1).max()) < 6.0
