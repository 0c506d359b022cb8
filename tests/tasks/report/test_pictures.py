"""Thumbnails, mask outlines and inlined figures."""

import base64
import hashlib
import io
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.report import pictures
from tasks.report.pictures import (
    Picture,
    Place,
    choose_evenly,
    draw_thumbnails,
    inline_svg,
    locate,
    make_pictures,
    make_pictures_of_files,
)
from tasks.vision.boxes import BoundingBox
from tasks.vision.masks import MaskClass

GREY = (90, 90, 90)


def place_of(root: Path, size: tuple[int, int] = (400, 200), mask_ref: str = "", name: str = "part.png") -> Place:
    buffer = io.BytesIO()
    Image.new("RGB", size, GREY).save(buffer, "PNG")
    (root / name).write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    return Place(root, ImageEntry(name, digest, *size, Truth(("bent",)), mask_ref=mask_ref))


def write_mask(path: Path, size: tuple[int, int], box: tuple[int, int, int, int], value: int = 255) -> None:
    mask = Image.new("L", size, 0)
    mask.paste(value, box)
    mask.save(path)


def only(place: Place, side: int = 200) -> Picture:
    return make_pictures({place: [side]})[place, side]


def pixels(picture: Picture) -> NDArray[np.int16]:
    data = base64.b64decode(picture.uri.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int16)


def yellow(image: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Where red and green are much above blue."""
    return np.asarray(image[:, :, :2].min(axis=2) - image[:, :, 2] > 50)


def test_fits_the_longer_side_and_keeps_the_shape(tmp_path: Path) -> None:
    picture = only(place_of(tmp_path))
    assert (picture.width, picture.height) == (200, 100)
    assert pixels(picture).shape == (100, 200, 3)
    assert np.abs(pixels(picture) - np.array(GREY)).max() <= 3
    assert not picture.is_outlined


@pytest.mark.parametrize(
    ("size", "shown"), [((40, 30), (40, 30)), ((3000, 4), (200, 1)), ((1, 900), (1, 200)), ((200, 200), (200, 200))]
)
def test_never_enlarges_and_never_vanishes(tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]) -> None:
    picture = only(place_of(tmp_path, size))
    assert (picture.width, picture.height) == shown


def test_outline_runs_around_the_mask(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", (400, 200), (200, 60, 300, 140))
    picture = only(place_of(tmp_path, mask_ref="mask.png"))
    assert picture.is_outlined
    rows, columns = np.nonzero(yellow(pixels(picture)))
    # The mask covers columns 100 to 149 and rows 30 to 69 of the thumbnail; the outline lies a few pixels outside.
    assert 94 <= columns.min() <= 99
    assert 150 <= columns.max() <= 156
    assert 24 <= rows.min() <= 29
    assert 70 <= rows.max() <= 76
    assert not yellow(pixels(picture))[33:67, 103:147].any()


def test_mask_of_another_size_is_scaled_to_the_image(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", (40, 20), (0, 0, 10, 20))
    marked = yellow(pixels(only(place_of(tmp_path, mask_ref="mask.png"))))
    assert marked[:, 45:60].any()
    assert not marked[:, 65:].any()


def test_outlines_a_defect_of_one_pixel(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", (4000, 2000), (1000, 1000, 1001, 1001))
    marked = yellow(pixels(only(place_of(tmp_path, mask_ref="mask.png"))))
    rows, columns = np.nonzero(marked)
    assert abs(rows.mean() - 50) < 2
    assert abs(columns.mean() - 50) < 2


def test_mask_of_small_class_numbers_counts(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", (400, 200), (200, 60, 300, 140), value=1)
    assert only(place_of(tmp_path, mask_ref="mask.png")).is_outlined


def test_only_the_classes_of_the_mask_are_outlined(tmp_path: Path) -> None:
    mask = np.zeros((200, 400), np.uint8)
    mask[60:140, 40:80], mask[60:140, 200:300] = 7, 3
    Image.fromarray(mask).save(tmp_path / "mask.png")
    place = place_of(tmp_path, mask_ref="mask.png")
    only_three = Place(tmp_path, replace(place.entry, mask_classes=(MaskClass("bent", index=3),)))
    for one, is_marked in ((place, True), (only_three, False)):
        marked = yellow(pixels(only(one)))
        assert marked[:, 90:160].any()
        assert marked[:, :60].any() == is_marked


def test_photograph_as_mask_gives_no_outline(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "mask.png")
    assert not only(place_of(tmp_path, mask_ref="mask.png")).is_outlined


def test_boxes_are_drawn_only_when_colours_are_given(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    place = Place(tmp_path, replace(place.entry, truth=Truth(("bent",), (BoundingBox("bent", 100, 60, 120, 80),))))
    green = (0, 255, 0)
    drawn = draw_thumbnails(place, [200], {"bent": green})[200].pixels
    # Half size: columns 50 to 109, rows 30 to 69; the line's second pixel lies outside.
    line = (drawn == green).all(axis=2)
    assert np.flatnonzero(line[50]).tolist() == [49, 50, 109, 110]
    assert np.flatnonzero(line[:, 80])[-4:].tolist() == [29, 30, 69, 70]
    assert (draw_thumbnails(place, [200])[200].pixels == GREY).all()
    assert make_pictures({place: [200]}, {"bent": green}) != make_pictures({place: [200]})


def test_pictures_of_files_that_no_check_has_passed(tmp_path: Path) -> None:
    place_of(tmp_path, (400, 100), name="whole.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    paths = {"w": tmp_path / "whole.png", "b": tmp_path / "broken.png", "g": tmp_path / "gone.png"}
    made = make_pictures_of_files(paths, 64)
    assert list(made) == ["w"]
    assert (made["w"].width, made["w"].height) == (64, 16)


def test_locate_opens_ordinary_files_below_the_root_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "set"
    (root / "folder").mkdir(parents=True)
    (root / "a.png").write_bytes(b"12345")
    (tmp_path / "outside.png").write_bytes(b"12345")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    os.mkfifo(root / "pipe.png")
    assert locate(root, "a.png") == root / "a.png"
    assert locate(root, "folder/../a.png") == root / "a.png"
    refused = ["../outside.png", str(tmp_path / "outside.png"), "link.png", "pipe.png", "folder", "gone", "", "a\0b"]
    refused += ["x" * 5000, "a.png/b"]
    assert [locate(root, ref) for ref in refused] == [None] * len(refused)
    monkeypatch.setattr(pictures, "MAX_FILE_BYTES", 4)
    assert locate(root, "a.png") is None


@pytest.mark.parametrize("content", [None, b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_missing_or_broken_mask_gives_no_outline(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "mask.png").write_bytes(content)
    picture = only(place_of(tmp_path, mask_ref="mask.png"))
    assert not picture.is_outlined
    assert not yellow(pixels(picture)).any()


def test_empty_mask_and_folder_and_mask_outside_the_root_give_no_outline(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "folder").mkdir(parents=True)
    write_mask(tmp_path / "outside.png", (400, 200), (200, 60, 300, 140))
    write_mask(root / "empty.png", (400, 200), (0, 0, 0, 0))
    for ref in ("../outside.png", "folder", "empty.png"):
        assert not only(place_of(root, mask_ref=ref)).is_outlined


def test_unreadable_images_have_no_picture(tmp_path: Path) -> None:
    gone = place_of(tmp_path, name="gone.png")
    changed = place_of(tmp_path, name="changed.png")
    whole = place_of(tmp_path, name="whole.png")
    (tmp_path / "gone.png").unlink()
    (tmp_path / "changed.png").write_bytes(b"other")
    assert list(make_pictures({gone: [64], changed: [64], whole: [64]})) == [(whole, 64)]


def test_decodes_each_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = pictures.decode_rgb
    monkeypatch.setattr(pictures, "decode_rgb", lambda data: calls.append(1) or decode(data))
    place = place_of(tmp_path)
    made = make_pictures({place: [64, 128, 64]})
    assert list(made) == [(place, 64), (place, 128)]
    assert len(calls) == 1


def test_equal_images_give_equal_pictures(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    assert only(place) == only(place)


@pytest.mark.parametrize(
    ("size", "count", "chosen"),
    [(3, 12, [0, 1, 2]), (0, 4, []), (10, 1, [0]), (10, 2, [0, 9]), (10, 4, [0, 3, 6, 9]), (12, 12, list(range(12)))],
)
def test_choose_evenly(size: int, count: int, chosen: list[int]) -> None:
    assert choose_evenly(range(size), count) == chosen


def test_choose_evenly_never_repeats() -> None:
    for size in range(1, 60):
        for count in range(1, 13):
            chosen = choose_evenly(range(size), count)
            assert len(set(chosen)) == len(chosen) == min(size, count)


SVG = """<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" height="8pt" viewBox="0 0 396 338.4" version="1.1">
 <metadata>http://purl.org/dc</metadata>
 <defs><style type="text/css">*{stroke-linejoin: round}</style></defs>
 <g id="a"><use xlink:href="#a" style="clip-path: url(#a)"/><text>id="a" url(#a) &lt;script&gt;</text></g>
</svg>
"""


def test_inline_svg_has_own_ids_and_no_outside_address(tmp_path: Path) -> None:
    (tmp_path / "roc.svg").write_text(SVG)
    figure = inline_svg(tmp_path / "roc.svg", "roc", 'a "title"')
    assert figure is not None
    assert figure.width == 396
    assert figure.markup.startswith("<svg ")
    assert 'aria-label="a &quot;title&quot;"' in figure.markup
    assert '<g id="roc-a"><use xlink:href="#roc-a" style="clip-path: url(#roc-a)"/>' in figure.markup
    assert not re.search(r"http|<style|<metadata|<\?xml|DOCTYPE", figure.markup)
    # What is text stays as it is, even where it looks like an id.
    assert '<text>id="a" url(#a) &lt;script&gt;</text>' in figure.markup


@pytest.mark.parametrize("content", [None, "", "no figure", "<svg>"])
def test_inline_svg_without_a_usable_file(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "roc.svg").write_text(content)
    assert inline_svg(tmp_path / "roc.svg", "roc", "title") is None
