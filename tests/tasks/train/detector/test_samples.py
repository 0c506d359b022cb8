import numpy as np
import pytest

from tasks.bundle.adjustments import Crop
from tasks.bundle.preprocessing import detection_steps
from tasks.dataset.entries import ImageEntry
from tasks.errors import SourceChanged
from tasks.train.detector.samples import prepare_samples
from tasks.vision.boxes import BoundingBox
from tests.tasks.train.detector.painted import INPUT_SIZE, LABEL, STEPS, ignore, paint_entries, samples_of, some_boxes

BOX = BoundingBox(LABEL, 12, 20, 30, 24)


@pytest.mark.parametrize(
    ("width", "height"),
    [(96, 96), (160, 60), (60, 160), (64, 64), (50, 50), (301, 77)],
    ids=["square", "wide", "tall", "of the input's size", "smaller", "odd"],
)
def test_boxes_lie_on_their_pixels(width, height, tmp_path):
    entries = paint_entries(tmp_path, [[BOX]], width=width, height=height)
    samples = samples_of(tmp_path, entries)
    bright = samples.pixels()[0].mean(axis=2) > 135
    rows, columns = np.nonzero(bright)
    pixels = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose(samples.boxes[0], [pixels], atol=1.0)
    scale = INPUT_SIZE / max(width, height)
    np.testing.assert_allclose(samples.boxes[0], [np.array([12, 20, 42, 44]) * scale], atol=0.5)
    assert samples.boxes[0].dtype == np.float32
    assert samples.image_sizes == ((width, height),)
    assert samples.truths == ((BOX,),)
    assert samples.image(0).shape == (3, INPUT_SIZE, INPUT_SIZE)
    np.testing.assert_array_equal(samples.image(0).numpy(), samples.pixels()[0].transpose(2, 0, 1))


def test_cropped_boxes_lie_on_what_is_left_of_their_pixels(tmp_path):
    placed = [
        BoundingBox("cut", 30, 40, 30, 20),
        BoundingBox("hidden", 2, 2, 20, 10),
        BoundingBox("whole", 60, 64, 9, 9),
    ]
    steps = detection_steps(INPUT_SIZE, [Crop(left=0.5, top=0.5, width=0.5, height=0.5)])
    samples = samples_of(tmp_path, paint_entries(tmp_path, [placed]), ("cut", "hidden", "whole"), steps)
    scale = INPUT_SIZE / 48
    np.testing.assert_allclose(samples.boxes[0] / scale, [[0, 0, 12, 12], [12, 16, 21, 25]], atol=1e-4)
    assert samples.labels[0].tolist() == [0, 2]
    assert samples.truths == (tuple(placed),)
    left, top, right, bottom = samples.boxes[0][0].astype(int)
    assert (samples.pixels()[0, top:bottom, left:right].mean(axis=2) > 135).all()


def test_labels_are_columns_and_negatives_have_none(tmp_path):
    boxes = [[BoundingBox("b", 1, 1, 20, 20), BoundingBox("a", 40, 40, 20, 20)], [], [BoundingBox("c", 5, 5, 9, 9)]]
    samples = samples_of(tmp_path, paint_entries(tmp_path, boxes), ("a", "b", "c"))
    assert [labels.tolist() for labels in samples.labels] == [[1, 0], [], [2]]
    assert [one.shape for one in samples.boxes] == [(2, 4), (0, 4), (1, 4)]
    assert len(samples) == 3


def test_pixels_are_mapped_from_disk_not_loaded(tmp_path):
    samples = samples_of(tmp_path, paint_entries(tmp_path, some_boxes(3)))
    assert isinstance(samples.stored, np.memmap)
    assert samples.take([2, 0]).stored is samples.stored
    np.testing.assert_array_equal(np.load(tmp_path / "000.png.npy"), samples.pixels())


def test_order_and_progress(tmp_path):
    entries = paint_entries(tmp_path, some_boxes(5))
    told = []
    samples = prepare_samples(tmp_path / "s.npy", tmp_path, entries, (LABEL,), STEPS, lambda *at: told.append(at))
    assert told == [(number, 5) for number in range(1, 6)]
    turned = prepare_samples(tmp_path / "t.npy", tmp_path, entries[::-1], (LABEL,), STEPS, ignore)
    np.testing.assert_array_equal(turned.pixels()[::-1], samples.pixels())


def test_take(tmp_path):
    samples = samples_of(tmp_path, paint_entries(tmp_path, [*some_boxes(3), [], [BOX]]))
    taken = samples.take([4, 3, 0]).take([0, 2])
    np.testing.assert_array_equal(taken.pixels(), samples.pixels()[[4, 0]])
    np.testing.assert_array_equal(taken.pixels(1), samples.pixels(0, 1))
    np.testing.assert_array_equal(taken.image(1), samples.image(0))
    np.testing.assert_array_equal(taken.boxes[0], samples.boxes[4])
    assert taken.truths == ((BOX,), samples.truths[0])
    assert len(samples.take([])) == len(samples.take([]).pixels()) == 0


def test_empty_split(tmp_path):
    nothing = samples_of(tmp_path, [])
    assert len(nothing) == 0
    assert nothing.pixels().shape == (0, INPUT_SIZE, INPUT_SIZE, 3)


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"other"), lambda path: path.unlink()])
def test_file_that_changed_since_ingest_is_told(change, tmp_path):
    entries: list[ImageEntry] = paint_entries(tmp_path, some_boxes(4))
    change(tmp_path / entries[2].source_ref)
    with pytest.raises(SourceChanged, match=r"002\.png"):
        samples_of(tmp_path, entries)
