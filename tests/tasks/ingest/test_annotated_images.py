"""Annotated images through the whole of ingest: which are used, which are boxed, and which are lost."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from flows.config import DataConfig, MaskConfig
from tasks.dataset.findings import read_findings
from tasks.errors import DataError, RequestError
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tests.makers import jpeg_bytes, paint_with_boxes, png_bytes, save
from tests.sources import SIDE, box_line, write_coco, write_lines, write_manifest
from tests.tasks.ingest.annotated_parts import (
    BOXES,
    GOOD,
    OFF,
    REFS,
    findings_of,
    good_lines,
    in_coco,
    index_of,
    ingest,
    placed,
)

# Masks


def with_masks(root: Path, masks: dict[str, bytes]) -> Path:
    rows = ["image,label,mask"]
    for number, (ref, data) in enumerate(masks.items()):
        (root / "masks").mkdir(exist_ok=True)
        (root / "masks" / f"{number}.png").write_bytes(data)
        rows.append(f"{ref},cut,masks/{number}.png")
    (root / "a.csv").write_text("\n".join(rows) + "\n")
    return root


def mask_bytes(side: int = SIDE, left: int = 10) -> bytes:
    mask = np.zeros((side, side), np.uint8)
    mask[10:30, left : left + 20] = 255
    return png_bytes(mask)


def test_masks_become_boxes_and_bad_ones_findings(home: Home, root: Path) -> None:
    photograph = png_bytes(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    good = {ref: mask_bytes() for ref in REFS[2:]}
    record = ingest(home, with_masks(root, {REFS[0]: photograph, REFS[1]: mask_bytes(SIDE + 1), **good}))
    assert (record.usable, record.invalid, record.has_boxes) == (6, 0, True)
    data = DataConfig(source=str(root), max_invalid_fraction=0.5, near_duplicates=False)
    manifest = build_manifest.fn(home, record, data, MaskConfig(), "detection")
    findings = {one.source_ref: one.code for one in read_findings(Path(manifest.entry_path) / "findings.jsonl")}
    assert findings == {REFS[0]: "ERROR_INVALID_MASK", REFS[1]: "ERROR_MASK_SIZE"}
    assert sum(boxes.get("cut", 0) for boxes in manifest.boxes.values()) == 4


@pytest.mark.parametrize("gone", ["mask", "image"])
def test_mask_or_image_that_is_missing(home: Home, root: Path, gone: str) -> None:
    with_masks(root, dict.fromkeys(REFS, mask_bytes()))
    (root / ("masks/0.png" if gone == "mask" else REFS[0])).unlink()
    record = ingest(home, root)
    assert sorted(index_of(record)) == GOOD
    told = [(one.code, one.source_ref) for one in findings_of(record)]
    assert told == [("ERROR_INVALID_MASK" if gone == "mask" else "ERROR_INVALID_IMAGE", REFS[0])]
    assert (record.listed, record.invalid) == (6, 1)


@pytest.mark.parametrize("same", [True, False], ids=["equal masks", "different masks"])
def test_same_picture_with_two_masks(home: Home, root: Path, same: bool) -> None:
    shutil.copyfile(root / REFS[0], root / REFS[1])
    masks = dict.fromkeys(REFS, mask_bytes())
    if not same:
        masks[REFS[1]] = mask_bytes(left=20)
    record = ingest(home, with_masks(root, masks))
    assert record.findings == ({"WARNING_DUPLICATE_IMAGE": 1} if same else {"WARNING_CONFLICTING_LABELS": 2})
    assert record.usable == (5 if same else 4)


def test_mask_that_changes_is_seen(home: Home, root: Path) -> None:
    with_masks(root, dict.fromkeys(REFS, mask_bytes()))
    before = ingest(home, root)
    (root / "masks" / "0.png").write_bytes(mask_bytes(left=11))
    after = ingest(home, root)
    assert after.content_digest != before.content_digest
    assert index_of(after)[REFS[0]].mask_sha256 != index_of(before)[REFS[0]].mask_sha256


# Negatives, limits, duplicates


def test_boxes_none_and_unknown_are_three_things(home: Home, root: Path) -> None:
    write_lines(
        root / "a.manifest",
        *(box_line(ref, BOXES[ref]) for ref in REFS[:3]),
        box_line(REFS[3], []),
        {"source-ref": REFS[4]},
    )
    record = ingest(home, root, max_invalid_fraction=0.0)
    assert {ref: entry.truth.boxes for ref, entry in index_of(record).items()} == {
        **{ref: placed(BOXES[ref][0]) for ref in REFS[:3]},
        REFS[3]: (),
    }
    assert {one.source_ref: one.code for one in findings_of(record)} == {
        REFS[4]: "WARNING_UNANNOTATED_RECORD",
        REFS[5]: "WARNING_UNANNOTATED_FILE",
    }
    assert (record.usable, record.invalid) == (4, 0)


def test_source_of_negatives_has_no_boxes(home: Home, root: Path) -> None:
    write_coco(root / "a.json", dict.fromkeys(REFS, ()))
    record = ingest(home, root)
    assert (record.usable, record.has_boxes) == (6, False)
    assert {entry.truth.boxes for entry in index_of(record).values()} == {()}


def test_table_of_labels_has_no_boxes(home: Home, root: Path) -> None:
    (root / "a.csv").write_text("image,label\n" + "".join(f"{ref},a\n" for ref in REFS))
    record = ingest(home, root)
    assert not record.has_boxes
    assert {(entry.truth.labels, entry.truth.boxes) for entry in index_of(record).values()} == {(("a",), None)}


def test_lost_boxes_are_no_lost_images(home: Home, root: Path) -> None:
    write_manifest(root / "a.manifest", {ref: [*BOXES[ref], OFF] for ref in REFS})
    record = ingest(home, root, max_invalid_fraction=0.0)
    assert (record.usable, record.invalid) == (6, 0)
    assert record.findings["ERROR_INVALID_BOUNDING_BOX"] == 6


def test_lost_lines_are_lost_images(home: Home, root: Path) -> None:
    write_lines(root / "a.manifest", *good_lines(), "no JSON", "nor this", "{}")
    with pytest.raises(DataError, match="3 of 8 images are bad"):
        ingest(home, root)
    record = ingest(home, root, max_invalid_fraction=0.4)
    assert (record.listed, record.usable, record.invalid) == (8, 5, 3)


def test_missing_images_beyond_the_limit_stop_the_run(home: Home, root: Path) -> None:
    in_coco(root)
    (root / REFS[0]).unlink()
    assert ingest(home, root).invalid == 1
    (root / REFS[1]).unlink()
    with pytest.raises(DataError, match="2 of 6 images are bad"):
        ingest(home, root)


@pytest.mark.parametrize("same", [True, False], ids=["equal boxes", "different boxes"])
def test_same_picture_twice(home: Home, root: Path, same: bool) -> None:
    shutil.copyfile(root / REFS[0], root / REFS[1])
    write_manifest(root / "a.manifest", BOXES | {REFS[0]: [(1, 1, 9, 9)], REFS[1]: [(1, 1, 9, 9 if same else 8)]})
    record = ingest(home, root)
    assert record.findings == ({"WARNING_DUPLICATE_IMAGE": 1} if same else {"WARNING_CONFLICTING_LABELS": 2})
    assert (record.usable, record.invalid) == (5 if same else 4, 0)
    assert "boxed or masked otherwise" in findings_of(record)[0].message or same


# The managed service's limits


def test_rules_of_the_managed_service_on_pictures(home: Home, tmp_path: Path) -> None:
    root = (tmp_path / "parts").resolve()
    labels = ("a", "b")
    sizes = {"63.png": (63, 64), "64.png": (64, 64), "tall.png": (1281, 64), "longest.png": (1280, 64)}
    for label in labels:
        for place, (name, (height, width)) in enumerate(sizes.items()):
            pixels = np.random.default_rng([place, *label.encode()]).integers(
                0, 256, (height, width, 3), dtype=np.uint8
            )
            save(root / label / name, pixels)
        save(root / label / "plain.bmp", paint_with_boxes([], SIDE, label.encode()))
        (root / label / "named.bmp").write_bytes(jpeg_bytes(paint_with_boxes([], SIDE, (5, *label.encode()))))
    assert ingest(home, root).usable == 12
    record = ingest(home, root, rules="aws", max_invalid_fraction=0.6)
    assert sorted(index_of(record)) == [
        f"{label}/{name}" for label in labels for name in ("64.png", "longest.png", "named.bmp")
    ]
    assert record.findings == {
        "ERROR_INVALID_IMAGE": 2,
        "ERROR_INVALID_IMAGE_DIMENSION": 4,
        "WARNING_WRONG_SUFFIX": 2,
    }


def test_rules_of_the_managed_service_on_lines(home: Home, root: Path) -> None:
    write_lines(
        root / "a.manifest",
        *(box_line(f"s3://photos/{ref}", BOXES[ref]) for ref in REFS[:4]),
        box_line(f"s3://photos/{REFS[4]}", []),
        box_line(REFS[5], BOXES[REFS[5]]),
    )
    record = ingest(home, root, rules="aws", rewrite=("s3://photos/=",))
    assert sorted(index_of(record)) == REFS[:4]
    assert record.findings["ERROR_INVALID_SOURCE_REF_FORMAT"] == 1
    assert record.findings["WARNING_NO_ANNOTATIONS"] == 1


# The request's faults


@pytest.mark.parametrize("rule", ["s3://photos/", "=images/"])
def test_rule_that_is_none_is_the_requests_fault(home: Home, root: Path, rule: str) -> None:
    write_manifest(root / "a.manifest", BOXES)
    with pytest.raises(ValidationError, match="rewrite"):
        ingest(home, root, rewrite=(rule,))


def test_images_folder_that_is_a_file_is_the_requests_fault(home: Home, root: Path) -> None:
    manifest = write_manifest(root / "a.manifest", BOXES)
    with pytest.raises(RequestError, match=r"data\.image_root .* is a file"):
        ingest(home, manifest, image_root=str(manifest))
