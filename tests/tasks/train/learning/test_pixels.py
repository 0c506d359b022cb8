import hashlib
from pathlib import Path

import numpy as np
import pytest

from tasks.bundle.preprocessing import frame, standard_steps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.train.deadline import OutOfTime
from tasks.train.learning import pixels
from tasks.train.learning.pixels import frame_images
from tasks.vision.images import decode_rgb
from tests.makers import paint_shape, png_bytes

SIDE = 32
STEPS = standard_steps(SIDE)
MANY = 2000


@pytest.fixture
def entry(tmp_path: Path) -> ImageEntry:
    data = png_bytes(paint_shape("ring", 96))
    (tmp_path / "ring.png").write_bytes(data)
    return ImageEntry("ring.png", hashlib.sha256(data).hexdigest(), 96, 96, Truth(labels=("ring",)))


def test_images_lie_in_the_file_as_networks_see_them(tmp_path: Path, entry: ImageEntry) -> None:
    told: list[tuple[int, int]] = []
    frame_images(tmp_path / "pixels.npy", tmp_path, [entry] * 3, STEPS, (SIDE, SIDE), lambda *done: told.append(done))
    expected = frame(decode_rgb((tmp_path / "ring.png").read_bytes()), STEPS)
    np.testing.assert_array_equal(np.load(tmp_path / "pixels.npy"), [expected] * 3)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_when_the_time_is_over_no_image_more_is_decoded(
    tmp_path: Path, entry: ImageEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def counted(data: bytes) -> np.ndarray:
        decoded.append(len(data))
        return decode_rgb(data)

    def over(done: int, total: int) -> None:
        raise OutOfTime(f"the time was over after {done} of {total}")

    monkeypatch.setattr(pixels, "decode_rgb", counted)
    with pytest.raises(OutOfTime, match="after 1 of 2000"):
        frame_images(tmp_path / "pixels.npy", tmp_path, [entry] * MANY, STEPS, (SIDE, SIDE), over)
    assert len(decoded) < MANY * 3 // 4
