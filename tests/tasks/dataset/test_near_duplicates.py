import io
from collections.abc import Callable
from itertools import combinations

import cv2
import numpy as np
import pytest
from PIL import Image

from tasks.dataset.near_duplicates import near_duplicate_pairs, thumbnail
from tasks.vision.images import RgbImage, decode_rgb
from tests.makers import image_bytes, jpeg_bytes, png_bytes

SIDE = 256
Change = Callable[[RgbImage], RgbImage]


def photograph(seed: int, side: int = SIDE) -> RgbImage:
    """Paint a smooth picture with some sharp edges and noise."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(
        rng.integers(40, 200, (6, 6, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(4):
        (x, y), radius = rng.integers(20, side - 20, 2).tolist(), int(rng.integers(5, side // 6))
        cv2.circle(picture, (x, y), radius, rng.integers(30, 220, 3).tolist(), -1)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def part_on_fixed_camera(number: int) -> RgbImage:
    """Paint one part at nearly one place before one background, with noise of its own."""
    rng = np.random.default_rng(number)
    picture = photograph(0).astype(np.float32)
    left, top = 90 + rng.integers(-8, 9), 80 + rng.integers(-8, 9)
    picture[top : top + 80, left : left + 60] = 30 + rng.integers(0, 8)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def resized(image: RgbImage, factor: float) -> RgbImage:
    return cv2.resize(
        image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    )


def toned(image: RgbImage, gain: float, offset: float) -> RgbImage:
    return np.clip(image * np.float32(gain) + offset, 0, 255).astype(np.uint8)


def with_spot(image: RgbImage, side: int, levels: int) -> RgbImage:
    spotted = image.astype(np.int16)
    spotted[100 : 100 + side, 60 : 60 + side] += levels
    return np.clip(spotted, 0, 255).astype(np.uint8)


def pairs_of(images: list[RgbImage], order: list[int] | None = None) -> list[tuple[int, int]]:
    thumbnails = np.stack([thumbnail(image) for image in images])
    found = near_duplicate_pairs(thumbnails, None if order is None else np.array(order))
    return [(first, second) for first, second in found.tolist()]


RE_SAVED: dict[str, Change] = {
    "PNG": lambda image: decode_rgb(png_bytes(image)),
    "JPEG 95": lambda image: decode_rgb(jpeg_bytes(image)),
    "JPEG 60": lambda image: decode_rgb(jpeg_bytes(image, quality=60)),
    "WebP": lambda image: decode_rgb(image_bytes(Image.fromarray(image), "WEBP", quality=75)),
    "half the size": lambda image: resized(image, 0.5),
    "0.7 of the size": lambda image: resized(image, 0.7),
    "double the size": lambda image: resized(image, 2),
    "brighter": lambda image: toned(image, 1, 13),
    "darker": lambda image: toned(image, 1, -13),
    "more contrast": lambda image: toned(image, 1.05, 0),
    "less contrast": lambda image: toned(image, 0.95, 0),
    "smaller and JPEG 60": lambda image: decode_rgb(jpeg_bytes(resized(image, 0.5), quality=60)),
}
OTHERS: dict[str, Change] = {
    "another picture": lambda image: photograph(99),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "two pixels to the side": lambda image: np.roll(image, 2, axis=1),
    "a small spot": lambda image: with_spot(image, 8, 60),
    "a pale stain": lambda image: with_spot(image, 40, 16),
    "much darker": lambda image: toned(image, 1, -40),
    "much less contrast": lambda image: toned(image, 0.7, 36),
}


@pytest.mark.parametrize("change", RE_SAVED.values(), ids=RE_SAVED)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_picture_saved_in_another_way_is_found(change: Change, seed: int) -> None:
    images = [photograph(number) for number in range(10, 20)]
    assert pairs_of([*images, photograph(seed), change(photograph(seed))]) == [(10, 11)]


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_other_picture_is_refused(change: Change) -> None:
    assert pairs_of([photograph(1), change(photograph(1))]) == []


def test_parts_before_a_fixed_camera_are_told_apart_and_their_copies_found() -> None:
    images = [part_on_fixed_camera(number) for number in range(60)]
    copies = [decode_rgb(jpeg_bytes(image, quality=70)) for image in images[:20]]
    alone = pairs_of(images)
    # Some of 60 parts stand on the same one of 289 places by chance; with their copies that makes more pairs.
    assert len(alone) < 20
    found = set(pairs_of([*images, *copies]))
    assert {(number, 60 + number) for number in range(20)} <= found
    kin = {(first, second) for first, second in alone} | {(number, number) for number in range(60)}
    assert {tuple(sorted((first % 60, second % 60))) for first, second in found} <= kin


def test_tiny_spot_below_the_limit_is_a_near_duplicate() -> None:
    assert pairs_of([photograph(1), with_spot(photograph(1), 4, 20)]) == [(0, 1)]


def test_same_picture_much_darker_is_refused() -> None:
    # Of little contrast, so that nothing is cut off at black or white and brightness is all that differs.
    assert pairs_of([toned(photograph(1), 0.5, 90), toned(photograph(1), 0.5, 50)]) == []


def test_noise_that_a_bold_picture_hides_tells_pale_ones_apart() -> None:
    noise = np.random.default_rng(0).normal(0, 1.4, (2, 64, 64))
    bold = thumbnail(photograph(1))
    pale = thumbnail(toned(photograph(1), 0.2, 100))
    assert near_duplicate_pairs((bold + noise).clip(0, 255).astype(np.uint8)).tolist() == [[0, 1]]
    assert near_duplicate_pairs((pale + noise).clip(0, 255).astype(np.uint8)).tolist() == []


def test_picture_of_hardly_any_contrast_stands_alone() -> None:
    faint = np.repeat(np.arange(100, 108, dtype=np.uint8), 8)[None, :, None].repeat(64, axis=0).repeat(3, axis=2)
    assert pairs_of([faint, faint.copy()]) == []


@pytest.mark.parametrize("levels", [0, 128, 255])
def test_pictures_that_show_nothing_stand_alone(levels: int) -> None:
    plain = np.full((80, 80, 3), levels, np.uint8)
    assert pairs_of([plain, plain.copy(), plain + np.uint8(levels < 255)]) == []


def test_pale_pictures_are_not_all_alike() -> None:
    pale = [toned(photograph(seed), 0.2, 100) for seed in range(8)]
    assert pairs_of(pale) == []
    assert pairs_of([*pale, decode_rgb(jpeg_bytes(pale[3], quality=90))]) == [(3, 8)]


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, []), (2, [[0, 1]])])
def test_few_pictures(count: int, expected: list[list[int]]) -> None:
    thumbnails = np.repeat(thumbnail(photograph(1))[None], count, axis=0)
    found = near_duplicate_pairs(thumbnails)
    assert found.shape[1] == 2
    assert found.tolist() == expected


def test_all_pairs_of_a_few_copies_are_found() -> None:
    images = [photograph(number) for number in range(5)] * 3
    expected = [(a, b) for a, b in combinations(range(15), 2) if a % 5 == b % 5]
    assert pairs_of(images) == expected


@pytest.mark.parametrize("count", [40, 6000], ids=["one round", "several rounds"])
def test_each_picture_of_a_crowd_is_found_with_the_first_in_order(count: int) -> None:
    rng = np.random.default_rng(5)
    base = thumbnail(photograph(1)).astype(np.float32)
    scene = np.clip(base + rng.normal(0, 0.8, (count, 64, 64)).astype(np.float32), 0, 255).astype(np.uint8)
    others = np.stack([thumbnail(photograph(number)) for number in range(2, 12)])
    order = rng.permutation(count + 10)
    pairs = near_duplicate_pairs(np.concatenate([scene, others]), order)
    leader = next(place for place in order.tolist() if place < count)
    led = {first + second - leader for first, second in pairs.tolist() if leader in (first, second)}
    assert led == set(range(count)) - {leader}
    assert len(pairs) < 20 * (count + 10)


def test_order_makes_no_difference_without_crowds() -> None:
    images = [photograph(number % 9) for number in range(20)]
    assert pairs_of(images, list(range(20))[::-1]) == pairs_of(images)


def test_search_of_a_mapped_file(tmp_path) -> None:
    stack = np.stack([thumbnail(photograph(number % 9)) for number in range(12)])
    np.save(tmp_path / "thumbnails.npy", stack)
    mapped = np.load(tmp_path / "thumbnails.npy", mmap_mode="r")
    assert near_duplicate_pairs(mapped).tolist() == [[0, 9], [1, 10], [2, 11]]


@pytest.mark.parametrize("shape", [(1, 1), (16, 900), (900, 16), (64, 64), (48, 48), (333, 217)])
def test_thumbnail_has_one_shape_and_keeps_the_mean(shape: tuple[int, int]) -> None:
    image = photograph(1, 900)[: shape[0], : shape[1]]
    small = thumbnail(image)
    assert (small.shape, small.dtype) == ((64, 64), np.uint8)
    grey = np.asarray(Image.open(io.BytesIO(png_bytes(image))).convert("L"), np.float64)
    assert abs(small.mean() - grey.mean()) < 1
