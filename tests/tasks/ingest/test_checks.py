import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.dataset.entries import ImageEntry, Split
from tasks.dataset.truth import Truth
from tasks.ingest.checks import CheckedFiles, ImageLimits, check_file, drop_duplicates
from tasks.vision.boxes import BoundingBox
from tasks.vision.masks import MaskClass
from tests.makers import image_bytes, jpeg_bytes, paint_class_folders, paint_shape, png_bytes
from tests.sources import check_files

LIMITS = ImageLimits(min_side_pixels=32, max_megapixels=1.0, max_file_megabytes=1.0)
PICTURE = paint_shape("round", 48)
PNG = png_bytes(PICTURE)


def put(root: Path, name: str, data: bytes) -> AnnotatedImage:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return AnnotatedImage(name, (Path(name).parts[0],))


def jpeg_of_two() -> bytes:
    """A photograph with another picture behind it, such as what was far away."""
    behind = Image.fromarray(255 - PICTURE)
    return image_bytes(Image.fromarray(PICTURE), "MPO", save_all=True, append_images=[behind])


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


BAD = {
    "empty": (b"", "ERROR_EMPTY_FILE"),
    "text": (b"This is text.\n", "ERROR_INVALID_IMAGE"),
    "cut in half": (PNG[: len(PNG) // 2], "ERROR_TRUNCATED_IMAGE"),
    "too narrow": (png_bytes(noise(200, 31)), "ERROR_INVALID_IMAGE_DIMENSION"),
    "too low": (png_bytes(noise(31, 200)), "ERROR_INVALID_IMAGE_DIMENSION"),
    "one pixel": (png_bytes(noise(1, 1)), "ERROR_INVALID_IMAGE_DIMENSION"),
    "too many pixels": (jpeg_bytes(noise(1000, 1001), quality=20), "ERROR_INVALID_IMAGE_DIMENSION"),
    "too many bytes": (png_bytes(noise(600, 600)), "ERROR_FILE_TOO_LARGE"),
    "32 bits a channel": (
        image_bytes(Image.fromarray(PICTURE[:, :, 0].astype(np.float32)), "TIFF"),
        "ERROR_INVALID_IMAGE",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_one_error(tmp_path: Path, name: str) -> None:
    data, code = BAD[name]
    checked = check_file(tmp_path, put(tmp_path, "a/1.png", data), LIMITS)
    assert checked.entry is None
    assert [(finding.code, finding.source_ref) for finding in checked.findings] == [(code, "a/1.png")]
    assert checked.findings[0].message


def test_missing_file_is_an_invalid_image(tmp_path: Path) -> None:
    checked = check_file(tmp_path, AnnotatedImage("a/gone.png", ("a",)), LIMITS)
    assert checked.entry is None
    assert [finding.code for finding in checked.findings] == ["ERROR_INVALID_IMAGE"]


def test_file_that_may_not_be_read_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path, "a/1.png", PNG)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    checked = check_file(tmp_path, file, LIMITS)
    assert [finding.code for finding in checked.findings] == ["ERROR_UNREADABLE_FILE"]


def test_too_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path, "a/1.png", BAD["too many bytes"][0])
    read: list[Path] = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or b"")
    assert check_file(tmp_path, file, LIMITS).entry is None
    assert read == []


@pytest.mark.parametrize(
    ("limits", "usable"),
    [
        pytest.param(ImageLimits(48, 48 * 48 / 1e6, len(PNG) / 1e6), True, id="exactly at every limit"),
        pytest.param(ImageLimits(49, 1.0, 1.0), False, id="one pixel too small"),
        pytest.param(ImageLimits(1, 47 * 48 / 1e6, 1.0), False, id="some pixels too many"),
        pytest.param(ImageLimits(1, 1.0, (len(PNG) - 1) / 1e6), False, id="one byte too many"),
    ],
)
def test_limits(tmp_path: Path, limits: ImageLimits, usable: bool) -> None:
    checked = check_file(tmp_path, put(tmp_path, "a/1.png", PNG), limits)
    assert (checked.entry is not None) == usable
    assert len(checked.findings) == (0 if usable else 1)


def test_usable_file_becomes_an_entry(tmp_path: Path) -> None:
    file = replace(put(tmp_path, "a/deep/1.png", PNG), given_split="test", mask_ref="masks/1.png", group="7")
    mask = put(tmp_path, "masks/1.png", png_bytes(np.zeros((48, 48), np.uint8))).source_ref
    digest, mask_digest = (hashlib.sha256((tmp_path / ref).read_bytes()).hexdigest() for ref in (file.source_ref, mask))
    assert check_file(tmp_path, file, LIMITS).entry == ImageEntry(
        "a/deep/1.png", digest, 48, 48, Truth(("a",)), "masks/1.png", "test", "7", mask_sha256=mask_digest
    )


def test_size_of_an_entry_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    checked = check_file(tmp_path, put(tmp_path, "a/1.jpg", jpeg_bytes(noise(40, 60), exif=exif)), LIMITS)
    assert checked.entry is not None
    assert (checked.entry.width, checked.entry.height) == (40, 60)


@pytest.mark.parametrize(
    ("name", "data", "wrong"),
    [
        pytest.param("a/1.png", jpeg_bytes(PICTURE), True, id="JPEG named png"),
        pytest.param("a/1.JPG", PNG, True, id="PNG named JPG"),
        pytest.param("a/1.PNG", PNG, False, id="upper case"),
        pytest.param("a/1.jpeg", jpeg_bytes(PICTURE), False, id="jpeg"),
        pytest.param("a/1.jpg", jpeg_of_two(), False, id="jpeg of a phone"),
        pytest.param("a/1.tif", image_bytes(Image.fromarray(PICTURE), "TIFF"), False, id="tif"),
    ],
)
def test_wrongly_named_file_is_used_with_a_warning(tmp_path: Path, name: str, data: bytes, wrong: bool) -> None:
    checked = check_file(tmp_path, put(tmp_path, name, data), LIMITS)
    assert checked.entry is not None
    assert [finding.code for finding in checked.findings] == (["WARNING_WRONG_SUFFIX"] if wrong else [])


def test_damaged_exif_does_not_stop_the_checks(tmp_path: Path) -> None:
    files = [put(tmp_path, "a/1.png", png_bytes(PICTURE, exif=b"garbage")), put(tmp_path, "a/2.png", PNG)]
    entries = check_files(tmp_path, files, LIMITS).entries
    assert "a/2.png" in [entry.source_ref for entry in entries]


def test_all_files_are_reported_in_turn(tmp_path: Path) -> None:
    paint_class_folders(tmp_path, images_per_label=9)
    put(tmp_path, "round/bad.png", b"")
    files = [AnnotatedImage(p.relative_to(tmp_path).as_posix(), (p.parent.name,)) for p in tmp_path.rglob("*.png")]
    told: list[tuple[int, int]] = []
    checked = check_files(tmp_path, files, LIMITS, lambda done, total: told.append((done, total)))
    entries, findings = checked.entries, checked.findings
    assert told == [(number, 19) for number in range(1, 20)]
    assert [entry.source_ref for entry in entries] == sorted(entry.source_ref for entry in entries)
    assert len(entries) == 18
    assert [finding.code for finding in findings] == ["ERROR_EMPTY_FILE"]


def test_no_files_are_no_entries(tmp_path: Path) -> None:
    assert check_files(tmp_path, [], LIMITS) == CheckedFiles((), (), ())


# What is said of an image


@pytest.mark.parametrize(
    ("size", "boxes", "usable"),
    [
        pytest.param((48, 48), (StatedBox("a", 1, 1, 5, 5),), True, id="right size"),
        pytest.param((96, 48), (StatedBox("a", 1, 1, 5, 5),), False, id="wider"),
        pytest.param((48, 47), (StatedBox("a", 1, 1, 5, 5),), False, id="lower"),
        pytest.param((0, 0), (StatedBox("a", 1, 1, 5, 5),), True, id="no size"),
        pytest.param((96, 0), (StatedBox("a", 1, 1, 5, 5),), True, id="half a size"),
        pytest.param((96, 48), (StatedBox("a", 0.1, 0.1, 0.5, 0.5, is_relative=True),), True, id="relative boxes"),
        pytest.param((96, 48), (), True, id="no boxes to be wrong"),
        pytest.param((96, 48), None, True, id="labels only"),
    ],
)
def test_stated_size(tmp_path: Path, size: tuple[int, int], boxes: tuple[StatedBox, ...] | None, usable: bool) -> None:
    width, height = size
    file = replace(put(tmp_path, "a/1.png", PNG), boxes=boxes, stated_width=width, stated_height=height)
    checked = check_file(tmp_path, file, LIMITS)
    assert (checked.entry is not None) == usable
    assert [finding.code for finding in checked.findings] == ([] if usable else ["ERROR_IMAGE_SIZE_DIFFERS"])


def test_stated_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = put(tmp_path, "a/1.jpg", jpeg_bytes(noise(40, 60), exif=exif))
    box = (StatedBox("a", 30, 50, 10, 10),)
    upright = check_file(tmp_path, replace(file, boxes=box, stated_width=40, stated_height=60), LIMITS)
    assert upright.entry is not None
    assert upright.entry.truth.boxes == (BoundingBox("a", 30, 50, 10, 10),)
    lying = check_file(tmp_path, replace(file, boxes=box, stated_width=60, stated_height=40), LIMITS)
    assert lying.entry is None


TRUTHS = {
    "label": (AnnotatedImage("a/1.png", ("a",)), Truth(("a",))),
    "no label fits": (AnnotatedImage("a/1.png", is_negative=True), Truth(())),
    "labels with confidences": (
        AnnotatedImage("a/1.png", ("a", "b"), confidences=(1.0, 0.5)),
        Truth(("a", "b"), None, (1.0, 0.5)),
    ),
    "sure labels": (AnnotatedImage("a/1.png", ("a", "b"), confidences=(1.0, 1.0)), Truth(("a", "b"))),
    "boxes": (
        AnnotatedImage("a/1.png", boxes=(StatedBox("b", 1, 2, 3, 4),)),
        Truth(("b",), (BoundingBox("b", 1, 2, 3, 4),)),
    ),
    "boxes and a label": (
        AnnotatedImage("a/1.png", ("c",), boxes=(StatedBox("b", 1, 2, 3, 4),), confidences=(0.5,)),
        Truth(("b", "c"), (BoundingBox("b", 1, 2, 3, 4),), (1.0, 0.5)),
    ),
    "no boxes": (AnnotatedImage("a/1.png", boxes=()), Truth((), ())),
    "one box off the image": (
        AnnotatedImage("a/1.png", boxes=(StatedBox("b", 1, 2, 3, 4), StatedBox("c", 90, 2, 3, 4))),
        Truth(("b",), (BoundingBox("b", 1, 2, 3, 4),)),
    ),
    "nothing": (AnnotatedImage("a/1.png"), None),
    "all boxes off the image": (AnnotatedImage("a/1.png", ("a",), boxes=(StatedBox("c", 90, 2, 3, 4),)), None),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_truth(tmp_path: Path, name: str) -> None:
    file, truth = TRUTHS[name]
    put(tmp_path, "a/1.png", PNG)
    entry = check_file(tmp_path, file, LIMITS).entry
    assert (entry.truth if entry else None) == truth


@pytest.mark.parametrize(
    ("file", "codes"),
    [
        pytest.param(TRUTHS["nothing"][0], ["WARNING_UNANNOTATED_RECORD"], id="nothing said"),
        pytest.param(
            TRUTHS["all boxes off the image"][0],
            ["ERROR_INVALID_BOUNDING_BOX", "ERROR_NO_VALID_ANNOTATIONS"],
            id="all boxes lost",
        ),
    ],
)
def test_image_left_out_for_what_is_said_of_it(tmp_path: Path, file: AnnotatedImage, codes: list[str]) -> None:
    put(tmp_path, "a/1.png", PNG)
    assert [finding.code for finding in check_file(tmp_path, file, LIMITS).findings] == codes


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda path: None, "there is no file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "there is no file", id="folder"),
        pytest.param(lambda path: path.symlink_to("/etc/passwd"), "leads out", id="linked outside"),
        pytest.param(lambda path: path.write_bytes(bytes(1_000_001)), "more than 1 MB", id="too large"),
    ],
)
def test_mask_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    file = replace(put(tmp_path, "a/1.png", PNG), mask_ref="mask.png")
    make(tmp_path / "mask.png")
    checked = check_file(tmp_path, file, LIMITS)
    assert checked.entry is None
    assert [(finding.code, finding.source_ref) for finding in checked.findings] == [("ERROR_INVALID_MASK", "a/1.png")]
    assert why in checked.findings[0].message


def test_missing_mask_costs_no_image_whose_boxes_are_known(tmp_path: Path) -> None:
    file = replace(put(tmp_path, "a/1.png", PNG), boxes=(StatedBox("a", 1, 2, 3, 4),), mask_ref="gone.png")
    checked = check_file(tmp_path, file, LIMITS)
    assert checked.entry is not None
    assert (checked.entry.mask_ref, checked.entry.mask_sha256) == ("", "")
    assert checked.entry.truth.boxes == (BoundingBox("a", 1, 2, 3, 4),)
    assert [finding.code for finding in checked.findings] == ["WARNING_INVALID_MASK"]


def test_mask_alone_makes_an_image_usable(tmp_path: Path) -> None:
    mask = png_bytes(np.zeros((48, 48), np.uint8))
    put(tmp_path, "mask.png", mask)
    file = AnnotatedImage(put(tmp_path, "a/1.png", PNG).source_ref, mask_ref="mask.png")
    entry = check_file(tmp_path, file, LIMITS).entry
    assert entry is not None
    assert entry.mask_sha256 == hashlib.sha256(mask).hexdigest()


# The managed service's limits


def test_limits_of_the_managed_service_only_narrow() -> None:
    assert ImageLimits(32, 100.0, 40.0).as_strict_as_custom_labels() == ImageLimits(
        64, 100.0, 15.0, 4096, 20.0, ("PNG", "JPEG")
    )
    narrow = ImageLimits(100, 2.0, 3.0).as_strict_as_custom_labels()
    assert (narrow.min_side_pixels, narrow.max_megapixels, narrow.max_file_megabytes) == (100, 2.0, 3.0)


def flat(height: int, width: int) -> bytes:
    return png_bytes(np.full((height, width), 90, np.uint8))


AWS = {
    "smallest": (flat(64, 64), ""),
    "too narrow": (flat(64, 63), "ERROR_INVALID_IMAGE_DIMENSION"),
    "widest": (flat(256, 4096), ""),
    "too wide": (flat(256, 4097), "ERROR_INVALID_IMAGE_DIMENSION"),
    "too high": (flat(4097, 256), "ERROR_INVALID_IMAGE_DIMENSION"),
    "longest": (flat(64, 1280), ""),
    "too long": (flat(64, 1281), "ERROR_INVALID_IMAGE_DIMENSION"),
    "too long upright": (flat(1281, 64), "ERROR_INVALID_IMAGE_DIMENSION"),
    "most bytes": (flat(64, 64).ljust(15_000_000, b"\0"), ""),
    "too many bytes": (flat(64, 64).ljust(15_000_001, b"\0"), "ERROR_FILE_TOO_LARGE"),
    "JPEG": (jpeg_bytes(noise(64, 64)), ""),
    "BMP": (image_bytes(Image.fromarray(noise(64, 64)), "BMP"), "ERROR_INVALID_IMAGE"),
    "TIFF": (image_bytes(Image.fromarray(noise(64, 64)), "TIFF"), "ERROR_INVALID_IMAGE"),
    "WebP": (image_bytes(Image.fromarray(noise(64, 64)), "WEBP"), "ERROR_INVALID_IMAGE"),
}


@pytest.mark.parametrize("name", AWS)
def test_limits_of_the_managed_service(tmp_path: Path, name: str) -> None:
    data, code = AWS[name]
    file = put(tmp_path, "a/1.png", data)
    strict = ImageLimits(32, 100.0, 40.0).as_strict_as_custom_labels()
    errors = [one.code for one in check_file(tmp_path, file, strict).findings if one.severity == "error"]
    assert errors == ([code] if code else [])
    assert check_file(tmp_path, file, ImageLimits(32, 100.0, 40.0)).entry is not None


# Duplicates


def entry(source_ref: str, content: str, given_split: Split | str = "") -> ImageEntry:
    return ImageEntry(source_ref, content, 48, 48, Truth((source_ref.split("/")[-2],)), "", given_split, content)  # type: ignore[arg-type]


DUPLICATES: dict[str, tuple[list[ImageEntry], list[str], dict[str, str]]] = {
    "none": ([], [], {}),
    "one": ([entry("a/1", "x")], ["a/1"], {}),
    "all different": ([entry("b/1", "y"), entry("a/1", "x")], ["a/1", "b/1"], {}),
    "first name stays": (
        [entry("a/3", "x"), entry("a/1", "x"), entry("a/2", "x")],
        ["a/1"],
        {"a/2": "WARNING_DUPLICATE_IMAGE", "a/3": "WARNING_DUPLICATE_IMAGE"},
    ),
    "conflicting labels": (
        [entry("a/1", "x"), entry("b/1", "x"), entry("b/2", "y")],
        ["b/2"],
        {"a/1": "WARNING_CONFLICTING_LABELS", "b/1": "WARNING_CONFLICTING_LABELS"},
    ),
    "two equal and one in conflict": (
        [entry("a/1", "x"), entry("a/2", "x"), entry("b/1", "x")],
        [],
        dict.fromkeys(["a/1", "a/2", "b/1"], "WARNING_CONFLICTING_LABELS"),
    ),
    "the tested one stays": (
        [entry("atrain/a/1", "x", "train"), entry("test/a/9", "x", "test"), entry("val/a/1", "x", "validation")],
        ["test/a/9"],
        {"atrain/a/1": "WARNING_DUPLICATE_IMAGE", "val/a/1": "WARNING_DUPLICATE_IMAGE"},
    ),
}


@pytest.mark.parametrize("name", DUPLICATES)
def test_duplicates(name: str) -> None:
    entries, kept_refs, codes = DUPLICATES[name]
    kept, findings = drop_duplicates(entries)
    assert [item.source_ref for item in kept] == kept_refs
    assert {finding.source_ref: finding.code for finding in findings} == codes
    assert len(findings) == len(codes)


def test_messages_name_the_others() -> None:
    _, findings = drop_duplicates([entry("a/1", "x"), entry("b/1", "x"), entry("c/1", "z"), entry("c/2", "z")])
    messages = {finding.source_ref: finding.message for finding in findings}
    assert "b/1 (b)" in messages["a/1"]
    assert "a/1 (a)" in messages["b/1"]
    assert "c/1" in messages["c/2"]


BOX = BoundingBox("a", 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("changes", "agrees"),
    [
        pytest.param({}, True, id="equal"),
        pytest.param({"truth": Truth(("a",), (replace(BOX, left=2),))}, False, id="box elsewhere"),
        pytest.param({"truth": Truth(("a",), (BOX, BOX))}, False, id="box twice"),
        pytest.param({"truth": Truth(("a",), ())}, False, id="no boxes"),
        pytest.param({"truth": Truth(("a",))}, False, id="boxes unknown"),
        pytest.param({"mask_sha256": "n"}, False, id="other mask"),
        pytest.param({"mask_classes": (MaskClass("a", index=1),)}, False, id="other classes of the mask"),
        pytest.param({"mask_ref": "copy.png"}, True, id="copy of the mask"),
        pytest.param({"creation_date": "2024-01-01T00:00:00.000000", "job_name": "x"}, True, id="other job"),
        pytest.param({"group": "7"}, True, id="other group"),
    ],
)
def test_duplicates_agree_in_all_that_is_true_of_them(changes: dict[str, object], agrees: bool) -> None:
    first = ImageEntry("a/1", "x", 48, 48, Truth(("a",), (BOX,)), "m.png", mask_sha256="m")
    kept, findings = drop_duplicates([first, replace(first, source_ref="a/2", **changes)])  # type: ignore[arg-type]
    assert kept == ([first] if agrees else [])
    assert {one.code for one in findings} == {"WARNING_DUPLICATE_IMAGE" if agrees else "WARNING_CONFLICTING_LABELS"}


@settings(deadline=None)
@given(st.data(), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), max_size=12))
def test_nothing_is_lost_or_told_twice_and_order_does_not_matter(
    data: st.DataObject, contents: list[tuple[str, int]]
) -> None:
    entries = [entry(f"{label}/{place:02d}", f"x{content}") for place, (label, content) in enumerate(contents)]
    kept, findings = drop_duplicates(entries)
    told = [finding.source_ref for finding in findings]
    assert sorted([item.source_ref for item in kept] + told) == sorted(item.source_ref for item in entries)
    assert len({item.sha256 for item in kept}) == len(kept)
    again, findings_again = drop_duplicates(data.draw(st.permutations(entries)))
    assert again == kept
    assert sorted(told) == sorted(finding.source_ref for finding in findings_again)


@pytest.mark.parametrize("change", [lambda data: data, lambda data: data + b"\0"], ids=["same bytes", "one byte more"])
def test_only_equal_bytes_are_duplicates(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    jpeg = jpeg_bytes(PICTURE)
    files = [put(tmp_path, "a/1.jpg", jpeg), put(tmp_path, "a/2.jpg", change(jpeg))]
    checked = check_files(tmp_path, files, LIMITS)
    entries, findings = checked.entries, checked.findings
    assert len(entries) + len(findings) == 2
    assert len(entries) == (1 if change(jpeg) == jpeg else 2)
