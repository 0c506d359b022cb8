"""Contact sheets as files: named safely, complete, and true to the pixel."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.report.contact_sheets import (
    CAPTION_HEIGHT,
    COLUMNS,
    GAP_GROUND,
    MARGIN,
    MAX_EXAMPLES,
    SIDE,
    TITLE_HEIGHT,
    file_names,
    title_of,
    write_contact_sheets,
)
from tasks.report.examples import choose_examples
from tasks.report.pictures import Place, draw_thumbnails
from tasks.vision.boxes import BoundingBox
from tasks.vision.masks import MaskOptions
from tasks.vision.overlays import OUTLINE_RGB, label_colours
from tests.makers import png_bytes, save

GROUND = (90, 80, 120)


def painted(root, ref, boxes=(), size=(400, 200), mask_ref="", shade=90):
    data = png_bytes(np.full((size[1], size[0], 3), (shade, *GROUND[1:]), np.uint8))
    path = root / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    truth = Truth(tuple(sorted({box.label for box in boxes})), tuple(boxes))
    return ImageEntry(ref, hashlib.sha256(data).hexdigest(), *size, truth, mask_ref=mask_ref)


def write(folder, root, train=(), test=(), labels=("bent",)):
    entries = {"train": list(train), "validation": [], "test": list(test)}
    return write_contact_sheets(folder, labels, entries, dict.fromkeys(entries, root))


def thumbnail(path, place=0):
    """The square of one thumbnail on a sheet."""
    row, column = divmod(place, COLUMNS)
    left, top = MARGIN + column * (SIDE + MARGIN), TITLE_HEIGHT + row * (SIDE + CAPTION_HEIGHT + MARGIN)
    return np.asarray(Image.open(path).convert("RGB"))[top : top + SIDE, left : left + SIDE]


def where(image, colour):
    return (image == np.array(colour, np.uint8)).all(axis=2)


def test_boxes_lie_where_they_are_on_the_image(tmp_path):
    box = BoundingBox("bent", 125, 57, 143, 101)
    (path,) = write(tmp_path / "sheets", tmp_path, [painted(tmp_path, "a.png", [box])])
    picture = thumbnail(path)
    colour = label_colours(["bent"])["bent"]
    scale, above = SIDE / 400, (SIDE - 112) // 2  # 400 x 200 pixels become 224 x 112, centred
    left, right = round(box.left * scale), round(box.right * scale)
    top, bottom = above + round(box.top * scale), above + round(box.bottom * scale)
    line = where(picture, colour)
    # Two pixels wide: the box's own outermost pixel, and one outside.
    assert np.flatnonzero(line[(top + bottom) // 2]).tolist() == [left - 1, left, right - 1, right]
    assert np.flatnonzero(line[:, right - 3]).tolist()[-4:] == [top - 1, top, bottom - 1, bottom]
    assert (picture[top + 1 : bottom - 1, left + 1 : right - 1] == GROUND).all()


def test_outline_runs_around_the_mask(tmp_path):
    mask = np.zeros((200, 400), np.uint8)
    mask[50:150, 100:300] = 255
    save(tmp_path / "mask.png", mask)
    box = BoundingBox("bent", 0, 0, 20, 20)
    (path,) = write(tmp_path / "sheets", tmp_path, [painted(tmp_path, "a.png", [box], mask_ref="mask.png")])
    picture = thumbnail(path)
    assert np.flatnonzero(where(picture, OUTLINE_RGB)[SIDE // 2]).tolist() == [52, 53, 170, 171]
    assert (picture[56 + 28 : 56 + 84, 56:168] == GROUND).all()


def test_negatives_have_a_sheet_of_their_own_and_no_boxes_are_invented(tmp_path):
    entries = [painted(tmp_path, "a.png", [BoundingBox("bent", 5, 5, 30, 30)]), painted(tmp_path, "b.png", shade=91)]
    paths = write(tmp_path / "sheets", tmp_path, entries)
    assert [path.name for path in paths] == ["bent.png", "no-boxes.png"]
    assert (thumbnail(paths[1])[56:168] == (91, 80, 120)).all()


def test_without_negatives_there_is_no_such_sheet(tmp_path):
    entry = replace(painted(tmp_path, "a.png"), truth=Truth(("bent",)))
    assert [path.name for path in write(tmp_path / "sheets", tmp_path, [entry])] == ["bent.png"]


def test_unreadable_images_leave_gaps(tmp_path):
    entries = [painted(tmp_path, f"{i}.png", [BoundingBox("bent", 5, 5, 30, 30)], shade=i) for i in range(3)]
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(b"other")
    (path,) = write(tmp_path / "sheets", tmp_path, entries)
    for place in (0, 1):
        assert where(thumbnail(path, place), GAP_GROUND).mean() > 0.9
        assert not where(thumbnail(path, place), GAP_GROUND).all()  # words say so
    assert (thumbnail(path, 2)[100, 100] == (2, *GROUND[1:])).all()


def test_shows_at_most_24_and_as_many_rows_as_needed(tmp_path):
    entries = [painted(tmp_path, f"{i:02d}.png", [BoundingBox("bent", 5, 5, 30, 30)], shade=i) for i in range(60)]
    full, one = write(tmp_path / "a", tmp_path, entries, labels=["bent", "unseen"])
    rows = MAX_EXAMPLES // COLUMNS
    assert Image.open(full).height == TITLE_HEIGHT + rows * (SIDE + CAPTION_HEIGHT + MARGIN)
    assert thumbnail(full, 0)[100, 100, 0] == 0
    assert thumbnail(full, MAX_EXAMPLES - 1)[100, 100, 0] == 59
    assert Image.open(one).height == TITLE_HEIGHT + SIDE + CAPTION_HEIGHT + MARGIN


def test_captions_and_titles_are_written(tmp_path):
    box = BoundingBox("bent", 5, 5, 30, 30)
    (train,) = write(tmp_path / "a", tmp_path, train=[painted(tmp_path, "a.png", [box])])
    (test,) = write(tmp_path / "b", tmp_path, test=[painted(tmp_path, "a.png", [box])])
    one, other = (np.asarray(Image.open(path)).astype(int) for path in (train, test))
    changed = np.flatnonzero(np.abs(one - other).any(axis=(1, 2)))
    # Only the split in the caption differs.
    assert TITLE_HEIGHT + SIDE <= changed.min() <= changed.max() < TITLE_HEIGHT + SIDE + CAPTION_HEIGHT
    assert (one[:TITLE_HEIGHT] != 255).any()


@pytest.mark.parametrize(
    ("boxes", "title"),
    [
        ([BoundingBox("bent", 5, 5, 30, 30)] * 2, "bent: 1 image, 2 boxes, 1 shown"),
        ([BoundingBox("bent", 5, 5, 30, 30)], "bent: 1 image, 1 box, 1 shown"),
        ([], "no boxes: 1 image, 1 shown"),
    ],
)
def test_title(tmp_path, boxes, title):
    entries = {"train": [painted(tmp_path, "a.png", boxes)]}
    sheets = choose_examples(entries, {"train": tmp_path}, ["bent"], 24)
    assert title in [title_of(sheet) for sheet in sheets]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        pytest.param(["bent", "cut lead"], ["bent", "cut_lead"], id="plain"),
        pytest.param(
            ["../../etc/passwd", "/", "..", "."], ["etc_passwd", "label_", "label_-2", "label_-3"], id="paths"
        ),
        pytest.param(["a/b", "a:b", "A?B"], ["a_b", "a_b-2", "A_B-3"], id="same when made safe"),
        pytest.param(["Ölfleck", "日本"], ["Ölfleck", "日本"], id="letters of any script"),
        pytest.param(["CON", "nul.x", "com1"], ["CON_", "nul.x_", "com1_"], id="reserved by Windows"),
        pytest.param(["no-boxes", ""], ["no-boxes", "no-boxes-2"], id="named like the negatives"),
        pytest.param(["x" * 300, "é" * 300], ["x" * 80, "é" * 40], id="long"),
        pytest.param(["a\nb\0c"], ["a_b_c"], id="control characters"),
        pytest.param(["x", "x-2", "X"], ["x", "x-2", "X-3"], id="numbered names that exist"),
    ],
)
def test_file_names(labels, names):
    assert file_names(labels) == names


def test_hostile_labels_are_written_inside_the_folder(tmp_path):
    labels = sorted(["../up", "/abs", "<b>", "x" * 5000, "日本", "a\nb"])
    entries = [painted(tmp_path / "set", "a.png", [BoundingBox(one, 5, 5, 90, 90) for one in labels])]
    folder = tmp_path / "out" / "sheets"
    paths = write(folder, tmp_path / "set", entries, labels=labels)
    assert len(paths) == len(labels)
    assert sorted(folder.iterdir()) == sorted(paths)


def test_equal_inputs_give_equal_bytes(tmp_path):
    entries = [painted(tmp_path, f"{i}.png", [BoundingBox("bent", 5, 5, 30, 30)], shade=i) for i in range(7)]
    (one,) = write(tmp_path / "a", tmp_path, entries)
    (other,) = write(tmp_path / "b", tmp_path, entries)
    assert one.read_bytes() == other.read_bytes()


def test_a_box_of_a_label_that_nobody_listed_is_drawn(tmp_path):
    entry = painted(tmp_path, "a.png", [BoundingBox("bent", 5, 5, 90, 90), BoundingBox("other", 105, 5, 90, 90)])
    (path,) = write(tmp_path / "sheets", tmp_path, [entry])
    assert where(thumbnail(path), label_colours(["bent", "other"])["other"]).any()


def test_outline_is_that_of_the_options_of_the_request(tmp_path):
    mask = np.zeros((64, 64, 4), np.uint8)
    mask[16:48, 16:48] = (200, 0, 0, 100)
    (tmp_path / "m.png").write_bytes(png_bytes(mask))
    (tmp_path / "1.png").write_bytes(png_bytes(np.full((64, 64, 3), 90, np.uint8)))
    data = (tmp_path / "1.png").read_bytes()
    entry = ImageEntry("1.png", hashlib.sha256(data).hexdigest(), 64, 64, Truth(("a",)), mask_ref="m.png")
    outlined = {
        threshold: draw_thumbnails(Place(tmp_path, entry, MaskOptions(alpha_threshold=threshold)), [64])[64].is_outlined
        for threshold in (50, 150)
    }
    assert outlined == {50: True, 150: False}
