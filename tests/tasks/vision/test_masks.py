import itertools
import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.ops import masks_to_boxes

from tasks.vision.boxes import BoundingBox
from tasks.vision.images import ImageError, read_header
from tasks.vision.masks import MaskBoxes, MaskClass, MaskOptions, decode_foreground, mask_to_boxes
from tests.conftest import TRANSISTORS
from tests.makers import image_bytes, jpeg_bytes, paint_shape, png_bytes

GOLDEN = Path(__file__).with_name("transistor_boxes.json")
SIDE = 40
DEFECT = (MaskClass("defect"),)
CRACK_AND_DENT = (MaskClass("crack", index=1), MaskClass("dent", index=2))
CRACK_BOX, DENT_BOX = BoundingBox("crack", 3, 5, 10, 7), BoundingBox("dent", 20, 6, 8, 9)
GREEN, BLUE = (0x23, 0xA4, 0x36), (0x2C, 0xA0, 0xC8)
COLOUR_CLASSES = (
    MaskClass("BACKGROUND", "#ffffff"),
    MaskClass("crack", "#23a436"),
    MaskClass("dent", "#2ca0c8"),
)


def two_blocks(crack=1, dent=2, ground=0, dtype=np.uint8):
    """A plane with the crack's and the dent's value in CRACK_BOX and DENT_BOX."""
    plane = np.full((SIDE, SIDE), ground, dtype)
    for box, value in ((CRACK_BOX, crack), (DENT_BOX, dent)):
        plane[box.top : box.bottom, box.left : box.right] = value
    return plane


def coloured(ground=(255, 255, 255), crack=GREEN, dent=BLUE):
    return np.array([ground, crack, dent], np.uint8)[two_blocks()]


def with_alpha(pixels, alpha):
    return np.dstack((pixels, alpha)).astype(np.uint8)


def palette_png(indices, colours, **options):
    image = Image.fromarray(indices, "L").copy()
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([channel for colour in colours for channel in colour])
    return image_bytes(image, "PNG", **options)


def small_depth_png(indices, depth):
    """A grey PNG of 2 or 4 bits, which Pillow reads but does not write."""
    height, width = indices.shape
    bits = (indices[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def boxes_of(data, classes=DEFECT, **options):
    header = read_header(data)
    return mask_to_boxes(data, classes, MaskOptions(**options), width=header.width, height=header.height)


def relabelled(*boxes):
    return tuple(BoundingBox("defect", box.left, box.top, box.width, box.height) for box in boxes)


BLOCKS = relabelled(CRACK_BOX, DENT_BOX)
BINARY = [
    pytest.param(image_bytes(Image.fromarray(two_blocks(1, 1) > 0), "PNG"), id="1 bit"),
    pytest.param(png_bytes(two_blocks(255, 255)), id="0 and 255"),
    pytest.param(png_bytes(two_blocks(1, 1)), id="0 and 1"),
    pytest.param(png_bytes(two_blocks(1, 2)), id="indices"),
    pytest.param(jpeg_bytes(two_blocks(255, 255), quality=85), id="JPEG with noise"),
    pytest.param(image_bytes(Image.fromarray(two_blocks(255, 255)), "TIFF"), id="TIFF"),
    pytest.param(png_bytes(two_blocks(1, 700, dtype=np.uint16)), id="16 bit indices"),
    pytest.param(png_bytes(two_blocks(65535, 65535, dtype=np.uint16)), id="16 bit binary"),
    pytest.param(png_bytes(coloured((0, 0, 0))), id="RGB on black"),
    pytest.param(png_bytes(with_alpha(coloured((9, 200, 9)), two_blocks(255, 255))), id="RGBA on transparent"),
    pytest.param(png_bytes(np.dstack((two_blocks(90, 90, 90), two_blocks(255, 255)))), id="LA on transparent"),
    pytest.param(palette_png(two_blocks(), [(0, 0, 0), GREEN, BLUE]), id="palette"),
    pytest.param(palette_png(two_blocks(), [(255, 255, 255), GREEN, BLUE]), id="palette without black"),
    pytest.param(palette_png(two_blocks(0, 0, 1), [(255, 255, 255), (0, 0, 0)]), id="palette, black not first"),
    pytest.param(
        palette_png(two_blocks(0, 2, 1), [BLUE, GREEN, GREEN], transparency=b"\xff\x00\xff"),
        id="palette, transparent not first",
    ),
    pytest.param(png_bytes(two_blocks(255, 255, 200), transparency=200), id="grey value declared transparent"),
    pytest.param(png_bytes(coloured((7, 7, 200)), transparency=(7, 7, 200)), id="colour declared transparent"),
]


@pytest.mark.parametrize("data", BINARY)
def test_without_colour_and_index_all_foreground_is_the_class(data):
    assert boxes_of(data) == MaskBoxes(BLOCKS)


INDEXED = [
    pytest.param(png_bytes(two_blocks()), id="8 bit grey"),
    pytest.param(small_depth_png(two_blocks(), 2), id="2 bit grey"),
    pytest.param(small_depth_png(two_blocks(), 4), id="4 bit grey"),
    pytest.param(png_bytes(two_blocks(dtype=np.uint16)), id="16 bit grey"),
    pytest.param(
        image_bytes(Image.frombytes("I;16B", (SIDE, SIDE), two_blocks(dtype=">u2").tobytes()), "TIFF"),
        id="16 bit, high byte first",
    ),
    pytest.param(np.repeat(two_blocks()[:, :, None], 3, axis=2), id="grey as RGB"),
    pytest.param(palette_png(two_blocks(), [(255, 255, 255), (0, 0, 0), (0, 0, 0)]), id="palette"),
    pytest.param(palette_png(two_blocks(), [(9, 9, 9)], bits=8), id="palette shorter than its indices"),
    pytest.param(palette_png(two_blocks(ground=3), [GREEN] * 4, transparency=3), id="palette with one transparent"),
    pytest.param(
        palette_png(two_blocks(ground=3), [GREEN] * 4, transparency=b"\xff\xff\xff\x20"), id="palette with alpha"
    ),
]


@pytest.mark.parametrize("data", INDEXED)
def test_classes_are_told_by_index(data):
    data = data if isinstance(data, bytes) else png_bytes(data)
    assert boxes_of(data, CRACK_AND_DENT) == MaskBoxes((CRACK_BOX, DENT_BOX))


def test_jpeg_of_two_pictures_is_the_first_of_them():
    first, behind = Image.fromarray(two_blocks(255, 255)), Image.fromarray(two_blocks(0, 0))
    data = image_bytes(first, "MPO", save_all=True, append_images=[behind], quality=95)
    assert len(boxes_of(data).boxes) == len(BLOCKS)


def test_1_bit_is_index_1():
    data = image_bytes(Image.fromarray(two_blocks(1, 0) > 0), "PNG")
    assert boxes_of(data, (MaskClass("crack", index=1),)) == MaskBoxes((CRACK_BOX,))


COLOURED = [
    pytest.param(png_bytes(coloured()), id="RGB"),
    pytest.param(png_bytes(coloured((250, 251, 252), (0x20, 0xA6, 0x3E), (0x2A, 0xA0, 0xC0))), id="within tolerance"),
    pytest.param(png_bytes(coloured((0, 0, 0))), id="black ground"),
    pytest.param(palette_png(two_blocks(), [(255, 255, 255), GREEN, BLUE]), id="palette"),
    pytest.param(png_bytes(with_alpha(coloured(GREEN), two_blocks(255, 255))), id="RGBA, class colour unseen"),
    pytest.param(
        palette_png(two_blocks(), [GREEN, GREEN, BLUE], transparency=b"\x00\xff\xff"), id="palette, class colour unseen"
    ),
]


@pytest.mark.parametrize("data", COLOURED)
def test_classes_are_told_by_colour(data):
    assert boxes_of(data, COLOUR_CLASSES) == MaskBoxes((CRACK_BOX, DENT_BOX))


def test_grey_is_a_colour_too():
    classes = (MaskClass("crack", "#404040"), MaskClass("dent", "#808080"))
    assert boxes_of(png_bytes(two_blocks(64, 128)), classes) == MaskBoxes((CRACK_BOX, DENT_BOX))
    assert boxes_of(png_bytes(two_blocks(0x4000, 0x8012, dtype=np.uint16)), classes) == MaskBoxes((CRACK_BOX, DENT_BOX))


def test_white_is_background_unless_a_class_claims_it():
    data = png_bytes(coloured((0, 0, 0), GREEN, (255, 255, 255)))
    assert boxes_of(data, (MaskClass("crack", "#23a436"),)) == MaskBoxes((CRACK_BOX,))
    classes = (MaskClass("crack", "#23a436"), MaskClass("dent", "#ffffff"))
    assert boxes_of(data, classes) == MaskBoxes((CRACK_BOX, DENT_BOX))


@pytest.mark.parametrize("name", ["BACKGROUND", "Background", "background"])
def test_background_is_what_its_class_looks_like_and_gets_no_box(name):
    classes = (MaskClass(name, "#0a141e"), MaskClass("crack", "#23a436"))
    assert boxes_of(png_bytes(coloured((10, 20, 30), GREEN, GREEN)), classes).boxes == (
        CRACK_BOX,
        BoundingBox("crack", DENT_BOX.left, DENT_BOX.top, DENT_BOX.width, DENT_BOX.height),
    )
    by_index = (MaskClass(name, index=7), *CRACK_AND_DENT)
    assert boxes_of(png_bytes(two_blocks(ground=7)), by_index) == MaskBoxes((CRACK_BOX, DENT_BOX))


def test_index_0_and_black_may_be_classes():
    assert boxes_of(
        png_bytes(two_blocks(0, 0, 5)), (MaskClass("defect", index=0), MaskClass("Background", index=5))
    ) == (MaskBoxes(BLOCKS))
    black = png_bytes(coloured((255, 255, 255), (0, 0, 0), (0, 0, 0)))
    assert boxes_of(black, (MaskClass("defect", "#000000"),)) == MaskBoxes(BLOCKS)


def test_the_nearest_of_two_colours_within_tolerance_wins():
    classes = (MaskClass("crack", "#646464"), MaskClass("dent", "#6a6a6a"))
    data = png_bytes(coloured((0, 0, 0), (0x66, 0x66, 0x66), (0x68, 0x68, 0x68)))
    assert boxes_of(data, classes) == MaskBoxes((CRACK_BOX, DENT_BOX))
    assert boxes_of(data, classes[::-1]) == MaskBoxes((CRACK_BOX, DENT_BOX))


@pytest.mark.parametrize(("tolerance", "count"), [(4, 0), (5, 1)])
def test_tolerance_is_the_largest_difference_in_a_channel(tolerance, count):
    data = png_bytes(coloured((0, 0, 0), (0x64, 0x64, 0x69), (0x64, 0x64, 0x6A)))
    found = boxes_of(data, (MaskClass("crack", "#646464"),), colour_tolerance=tolerance)
    assert len(found.boxes) == count


def test_unmatched_pixels_are_counted():
    classes = (MaskClass("crack", "#23a436"),)
    found = boxes_of(png_bytes(coloured()), classes)
    assert found == MaskBoxes((CRACK_BOX,), unmatched_pixels=DENT_BOX.width * DENT_BOX.height)
    assert boxes_of(png_bytes(two_blocks(1, 9)), CRACK_AND_DENT).unmatched_pixels == DENT_BOX.width * DENT_BOX.height
    assert boxes_of(png_bytes(coloured()), COLOUR_CLASSES).unmatched_pixels == 0


def test_two_colours_of_one_label_are_one_component():
    plane = np.zeros((SIDE, SIDE), np.uint8)
    plane[4:12, 4:12], plane[4:12, 12:20] = 1, 2
    classes = (MaskClass("dent", index=1), MaskClass("dent", index=2))
    assert boxes_of(png_bytes(plane), classes) == MaskBoxes((BoundingBox("dent", 4, 4, 16, 8),))


def test_a_lookout_mask_is_what_is_seen_of_it():
    """Transparent pixels carry the defect's colour, the edge is anti-aliased in alpha, and no class is background."""
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[10:20, 8:28] = 255
    alpha[9, 8:28], alpha[20, 8:28], alpha[10:20, 7], alpha[10:20, 28] = 100, 127, 128, 40
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    rgb[2:38, 2:38] = GREEN
    data = png_bytes(with_alpha(rgb, alpha))
    classes = (MaskClass("cracked", "#23a436"),)
    assert boxes_of(data, classes) == MaskBoxes((BoundingBox("cracked", 7, 10, 21, 10),))
    assert boxes_of(data, classes, alpha_threshold=100) == MaskBoxes((BoundingBox("cracked", 7, 9, 21, 12),))
    assert boxes_of(data, classes, alpha_threshold=0) == MaskBoxes((BoundingBox("cracked", 2, 2, 36, 36),))


def test_a_mask_is_turned_upright_as_its_image_is():
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn clockwise
    plane = np.zeros((20, 30), np.uint8)
    plane[2:8, 5:15] = 255
    data = png_bytes(plane, exif=exif)
    found = mask_to_boxes(data, DEFECT, MaskOptions(), width=20, height=30)
    assert found.boxes == (BoundingBox("defect", 12, 5, 6, 10),)
    with pytest.raises(ImageError, match="the mask has 20 x 30 pixels, its image 30 x 20"):
        mask_to_boxes(data, DEFECT, MaskOptions(), width=30, height=20)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_an_empty_mask_has_no_boxes(mode):
    assert boxes_of(image_bytes(Image.new(mode, (9, 7)), "PNG")) == MaskBoxes(())


def test_one_pixel_is_a_box_of_1_by_1():
    plane = np.zeros((9, 7), np.uint8)
    plane[8, 6] = 255
    assert boxes_of(png_bytes(plane), min_area_pixels=1) == MaskBoxes((BoundingBox("defect", 6, 8, 1, 1),))
    assert boxes_of(png_bytes(plane)) == MaskBoxes((), dropped=1)


def test_only_connectivity_8_joins_at_corners():
    plane = np.kron(np.eye(2, dtype=np.uint8) * 255, np.ones((5, 5), np.uint8))
    assert boxes_of(png_bytes(plane), connectivity=8).boxes == (BoundingBox("defect", 0, 0, 10, 10),)
    assert len(boxes_of(png_bytes(plane), connectivity=4).boxes) == 2


@pytest.mark.parametrize(("least", "count", "dropped"), [(63, 2, 0), (70, 2, 0), (71, 1, 1), (73, 0, 2)])
def test_small_components_are_dropped_and_counted(least, count, dropped):
    found = boxes_of(png_bytes(two_blocks(255, 255)), min_area_pixels=least)  # of 70 and 72 pixels
    assert (len(found.boxes), found.dropped) == (count, dropped)


@pytest.mark.parametrize(("distance", "count"), [(0, 2), (6, 2), (7, 1)])
def test_components_near_each_other_are_merged(distance, count):
    """The blocks' gap is 7 columns."""
    found = boxes_of(png_bytes(two_blocks(255, 255)), merge_distance_pixels=distance)
    assert len(found.boxes) == count
    assert len(boxes_of(png_bytes(two_blocks()), CRACK_AND_DENT, merge_distance_pixels=distance).boxes) == 2


def test_one_box_for_each_class():
    plane = two_blocks()
    plane[30:35, 1:6] = 1
    found = boxes_of(png_bytes(plane), CRACK_AND_DENT, one_box_per="class")
    assert found.boxes == (BoundingBox("crack", 1, 5, 12, 30), DENT_BOX)


def test_boxes_are_sorted_by_label_top_and_left():
    plane = np.zeros((SIDE, SIDE), np.uint8)
    for top, left, value in [(20, 2, 1), (2, 22, 1), (2, 12, 1), (2, 2, 2)]:
        plane[top : top + 5, left : left + 5] = value
    found = boxes_of(png_bytes(plane), CRACK_AND_DENT).boxes
    assert [(box.label, box.top, box.left) for box in found] == [
        ("crack", 2, 12),
        ("crack", 2, 22),
        ("crack", 20, 2),
        ("dent", 2, 2),
    ]


def test_a_mask_of_another_size_is_refused_before_it_is_decoded():
    data = png_bytes(two_blocks(255, 255))
    with pytest.raises(ImageError, match=r"the mask has 40 x 40 pixels, its image 41 x 40; give") as caught:
        mask_to_boxes(data[:60], DEFECT, MaskOptions(), width=41, height=40)
    assert caught.value.code == "ERROR_MASK_SIZE"


def test_more_pixels_than_any_image_has_are_refused():
    header = struct.pack(">4sIIBBBBB", b"IHDR", 20_000, 20_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(ImageError, match="megapixels"):
        decode_foreground(data, DEFECT, MaskOptions())


def photograph(side=128):
    return cv2.GaussianBlur(paint_shape("ring", side), (0, 0), 2)


PHOTOGRAPHS = [
    pytest.param(png_bytes(photograph()), id="RGB"),
    pytest.param(png_bytes(photograph()[:, :, 1]), id="grey"),
    pytest.param(jpeg_bytes(photograph(), quality=50), id="JPEG"),
    pytest.param(png_bytes(np.tile(np.arange(256, dtype=np.uint8), (64, 1))), id="gradient across"),
    pytest.param(png_bytes(np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 64))), id="gradient down"),
    pytest.param(png_bytes((photograph()[:, :, 1].astype(np.uint16) << 8) | 77), id="16 bit"),
    pytest.param(png_bytes(with_alpha(photograph(), 255 * np.ones((128, 128)))), id="RGBA"),
]


@pytest.mark.parametrize("classes", [DEFECT, CRACK_AND_DENT, COLOUR_CLASSES], ids=["foreground", "index", "colour"])
@pytest.mark.parametrize("data", PHOTOGRAPHS)
def test_a_photograph_is_no_mask(data, classes):
    with pytest.raises(ImageError, match="photograph") as caught:
        boxes_of(data, classes)
    assert caught.value.code == "ERROR_INVALID_MASK"


def test_noise_of_too_many_runs_or_colours_is_no_mask():
    rng = np.random.default_rng(0)
    with pytest.raises(ImageError, match="changes its value more than 2000000 times"):
        boxes_of(png_bytes(rng.integers(0, 2, (2100, 2100), np.uint8) * 255, compress_level=1))
    with pytest.raises(ImageError, match="colours, as a photograph has"):
        boxes_of(png_bytes(rng.integers(0, 256, (400, 400, 3), np.uint8), compress_level=1), COLOUR_CLASSES)


def smooth_discs(scale):
    """Anti-aliased discs, thin lines between them; 0 to 1."""
    plane = np.zeros((256, 256), np.uint8)
    for x, y in itertools.product(range(40, 256, 60), repeat=2):
        cv2.circle(plane, (x, y), 20, 255, -1, cv2.LINE_AA)
        cv2.line(plane, (x, y), (x + 60, y + 23), 255, 1, cv2.LINE_AA)
    return cv2.GaussianBlur(plane, (0, 0), scale) / 255.0


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_anti_aliased_edges_do_not_make_a_photograph(scale):
    cover = smooth_discs(scale)
    assert len(boxes_of(png_bytes((cover * 255).astype(np.uint8))).boxes) == 4
    rgb = (255 + cover[:, :, None] * (np.array(GREEN) - 255.0)).astype(np.uint8)
    found = boxes_of(png_bytes(rgb), COLOUR_CLASSES)
    assert found.boxes
    assert found.unmatched_pixels > 0


def test_thin_anti_aliased_lines_are_a_mask():
    plane = np.zeros((256, 256), np.uint8)
    cv2.line(plane, (10, 20), (240, 131), 255, 1, cv2.LINE_AA)
    assert len(boxes_of(png_bytes(plane)).boxes) == 1


@pytest.mark.parametrize("colour", ["23a436", "#23a43", "#gggggg", "red", "#23a4360"])
def test_a_colour_that_is_none_is_one_clear_sentence(colour):
    with pytest.raises(ImageError, match=r"class 'crack' has the colour .*; write #rrggbb") as caught:
        boxes_of(png_bytes(coloured()), (MaskClass("crack", colour),))
    assert caught.value.code == "ERROR_INVALID_MASK"


def test_32_bits_a_pixel_are_refused():
    data = image_bytes(Image.fromarray(two_blocks(dtype=np.int32)), "TIFF")
    with pytest.raises(ImageError, match="32 bits") as caught:
        boxes_of(data, CRACK_AND_DENT)
    assert caught.value.code == "ERROR_INVALID_MASK"


def test_other_colour_spaces_are_read_as_rgb():
    data = image_bytes(Image.fromarray(coloured()).convert("CMYK"), "TIFF")
    assert boxes_of(data, COLOUR_CLASSES) == MaskBoxes((CRACK_BOX, DENT_BOX))


@pytest.mark.parametrize("data", [*BINARY])
def test_foreground_is_1_where_a_class_is(data):
    assert np.array_equal(decode_foreground(data, DEFECT, MaskOptions()), two_blocks(1, 1))


def test_foreground_is_of_the_classes_alone():
    foreground = decode_foreground(png_bytes(two_blocks()), CRACK_AND_DENT[:1], MaskOptions())
    assert foreground.dtype == np.uint8
    assert np.array_equal(foreground, two_blocks(1, 0))


def test_large_masks_are_read_in_bands_without_a_seam():
    plane = np.zeros((1500, 700, 3), np.uint8)
    plane[100:1400, 50:60] = plane[1390:1400, 50:600] = GREEN
    assert boxes_of(png_bytes(plane), COLOUR_CLASSES) == MaskBoxes((BoundingBox("crack", 50, 100, 550, 1300),))


@settings(max_examples=50, deadline=None)
@given(left=st.integers(0, 30), top=st.integers(0, 20), width=st.integers(1, 30), height=st.integers(1, 20))
def test_filled_rectangles_give_themselves_back_where_torchvision_is_one_pixel_short(left, top, width, height):
    plane = np.zeros((40, 60), np.uint8)
    plane[top : top + height, left : left + width] = 255
    (box,) = boxes_of(png_bytes(plane), min_area_pixels=1).boxes
    assert box == BoundingBox("defect", left, top, width, height)
    x1, y1, x2, y2 = masks_to_boxes(torch.from_numpy(plane[None] > 0))[0].tolist()
    assert (x1, y1, x2 - x1, y2 - y1) == (box.left, box.top, box.width - 1, box.height - 1)


FUZZED = [data for param in (*BINARY, *COLOURED) if isinstance(data := param.values[0], bytes)]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: png_bytes(two_blocks())[:33] + tail))
def test_random_bytes_are_only_ever_refused(data):
    with pytest.raises(ImageError):
        mask_to_boxes(data, COLOUR_CLASSES, MaskOptions(), width=SIDE, height=SIDE)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_masks_are_read_or_refused(draw):
    data = bytearray(draw.draw(st.sampled_from(FUZZED)))
    for _ in range(draw.draw(st.integers(0, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(data)))
    for classes in (DEFECT, CRACK_AND_DENT, COLOUR_CLASSES):
        try:
            found = mask_to_boxes(bytes(data[:cut]), classes, MaskOptions(), width=SIDE, height=SIDE)
        except ImageError:
            continue
        assert all(box.right <= SIDE and box.bottom <= SIDE for box in found.boxes)


def test_a_mask_cut_in_its_pixels_is_refused():
    rng = np.random.default_rng(0)
    data = png_bytes(np.kron(rng.integers(0, 2, (40, 40), np.uint8) * 255, np.ones((8, 8), np.uint8)))
    with pytest.raises(ImageError) as caught:
        boxes_of(data[: len(data) // 2])
    assert caught.value.code == "ERROR_TRUNCATED_IMAGE"


@pytest.mark.skipif(not TRANSISTORS.is_dir(), reason="the transistor photographs are not beside the project")
def test_the_transistors_have_the_44_boxes_that_were_looked_at():
    golden = json.loads(GOLDEN.read_text())
    assert (len(golden), sum(map(len, golden.values()))) == (40, 44)
    masks = sorted((TRANSISTORS / "ground_truth").glob("*/*_mask.png"))
    found = {mask.relative_to(TRANSISTORS).as_posix(): boxes_of(mask.read_bytes()).boxes for mask in masks}
    assert {
        name: [[box.left, box.top, box.width, box.height] for box in boxes] for name, boxes in found.items()
    } == golden
