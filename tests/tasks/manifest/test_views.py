"""What each task sees of one divided dataset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.dataset.entries import SPLITS, ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import SourceChanged
from tasks.ingest.checks import ImageLimits
from tasks.ingest.layouts import list_folders
from tasks.ingest.walk import walk_files
from tasks.manifest.views import (
    NORMAL_LABELS,
    View,
    anomaly_view,
    choose_labels_per_image,
    classification_view,
    count_boxes,
    count_labels,
    count_negatives,
    detection_view,
)
from tasks.vision.boxes import BoundingBox
from tasks.vision.masks import MaskOptions
from tests.makers import paint_mvtec, paint_shape, png_bytes, save
from tests.sources import check_files

SIDE = 48
MASK = "ground_truth/cross/000_mask.png"
IMAGE = "test/cross/000.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return paint_mvtec(tmp_path / "parts", good_train=3, good_test=2, images_per_defect=2)


def entries_of(root: Path) -> list[ImageEntry]:
    listing = list_folders(walk_files(root)[0])
    limits = ImageLimits(min_side_pixels=1, max_megapixels=1.0, max_file_megabytes=1.0)
    return list(check_files(root, listing.files, limits).entries)


def as_trained(entries: list[ImageEntry]) -> dict:
    return {"train": entries, "validation": [], "test": []}


def detect(root: Path, entries: list[ImageEntry] | None = None, **options: object) -> View:
    divided = as_trained(entries_of(root) if entries is None else entries)
    return detection_view(divided, dict.fromkeys(SPLITS, root), MaskOptions(**options), lambda done, total: None)


def by_ref(view: View) -> dict[str, ImageEntry]:
    return {entry.source_ref: entry for split in SPLITS for entry in view.entries[split]}


def found(view: View) -> list[tuple[str, str]]:
    return [(finding.code, finding.source_ref) for finding in view.findings]


def paint_mask(root: Path, *blocks: tuple[int, int, int, int], ref: str = MASK) -> None:
    """Paint white blocks (left, top, width, height) on a black mask."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for left, top, width, height in blocks:
        mask[top : top + height, left : left + width] = 255
    save(root / ref, mask)


def test_good_images_are_a_label_in_classification(root: Path) -> None:
    view = classification_view(as_trained(entries_of(root)))
    assert count_labels(view)["train"] == {"cross": 2, "good": 5, "ring": 2}
    assert {entry.truth.boxes for entry in view.entries["train"]} == {None}
    assert view.findings == ()


def test_good_images_are_negatives_in_detection(root: Path) -> None:
    view = detect(root)
    good = [entry.truth for ref, entry in by_ref(view).items() if "/good/" in ref]
    assert good == [Truth((), ())] * 5
    assert count_negatives(view) == {"train": 5, "validation": 0, "test": 0}
    assert count_labels(view)["train"] == {"cross": 2, "ring": 2}


def test_masks_become_boxes(root: Path) -> None:
    paint_mask(root, (3, 5, 10, 7), (30, 20, 6, 20))
    view = detect(root)
    truth = by_ref(view)[IMAGE].truth
    assert truth == Truth(("cross",), (BoundingBox("cross", 3, 5, 10, 7), BoundingBox("cross", 30, 20, 6, 20)))
    assert count_boxes(view)["train"]["cross"] == 2 + len(by_ref(view)["test/cross/001.png"].truth.boxes)
    assert view.findings == ()


@pytest.mark.parametrize(
    ("options", "boxes"),
    [
        pytest.param({}, 2, id="two parts"),
        pytest.param({"min_area_pixels": 71}, 1, id="the smaller one is noise"),
        pytest.param({"one_box_per": "class"}, 1, id="a box for each class"),
        pytest.param({"merge_distance_pixels": 20}, 1, id="near ones merged"),
    ],
)
def test_mask_options_are_those_of_the_request(root: Path, options: dict, boxes: int) -> None:
    paint_mask(root, (3, 5, 10, 7), (30, 20, 6, 20))
    assert len(by_ref(detect(root, **options))[IMAGE].truth.boxes) == boxes


def test_everything_but_the_truth_stays(root: Path) -> None:
    before = {entry.source_ref: entry for entry in entries_of(root)}
    for ref, entry in by_ref(detect(root)).items():
        assert replace(entry, truth=before[ref].truth) == before[ref]


def test_defect_without_mask_is_left_out_of_detection_alone(root: Path) -> None:
    (root / MASK).unlink()
    entries = entries_of(root)
    view = detect(root, entries)
    assert IMAGE not in by_ref(view)
    assert found(view) == [("WARNING_UNANNOTATED_RECORD", IMAGE)]
    assert IMAGE in by_ref(classification_view(as_trained(entries)))


def test_image_without_label_is_left_out_of_classification_alone() -> None:
    negative = ImageEntry("a.png", "ab" * 32, 64, 48, Truth((), ()))
    view = classification_view(as_trained([negative]))
    assert (view.entries["train"], found(view)) == ([], [("WARNING_UNANNOTATED_RECORD", "a.png")])
    assert by_ref(detect(Path("unused"), [negative])) == {"a.png": negative}


def test_empty_mask_is_a_negative_and_told(root: Path) -> None:
    paint_mask(root)
    view = detect(root)
    assert by_ref(view)[IMAGE].truth == Truth((), ())
    assert found(view) == [("WARNING_EMPTY_MASK", IMAGE)]
    assert MASK in view.findings[0].message


def test_specks_get_no_box_and_are_told(root: Path) -> None:
    paint_mask(root, (3, 5, 10, 7), (30, 20, 3, 5), (40, 40, 1, 1))
    view = detect(root)
    assert by_ref(view)[IMAGE].truth.boxes == (BoundingBox("cross", 3, 5, 10, 7),)
    assert found(view) == [("WARNING_SMALL_COMPONENT", IMAGE)]
    assert "2 specks of fewer than 16 pixels" in view.findings[0].message


def test_mask_of_nothing_but_specks_is_told_twice(root: Path) -> None:
    paint_mask(root, (30, 20, 3, 5))
    assert found(detect(root)) == [("WARNING_SMALL_COMPONENT", IMAGE), ("WARNING_EMPTY_MASK", IMAGE)]


def noise(side: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        pytest.param(png_bytes(np.full((SIDE, SIDE + 1), 255, np.uint8)), "ERROR_MASK_SIZE", id="another size"),
        pytest.param(png_bytes(noise(SIDE)), "ERROR_INVALID_MASK", id="photograph"),
        pytest.param(b"no image", "ERROR_INVALID_IMAGE", id="no image"),
        pytest.param(png_bytes(noise(SIDE))[:900], "ERROR_TRUNCATED_IMAGE", id="cut short"),
    ],
)
def test_mask_that_is_none_leaves_its_image_out(root: Path, mask: bytes, code: str) -> None:
    (root / MASK).write_bytes(mask)
    view = detect(root)
    assert IMAGE not in by_ref(view)
    assert found(view) == [(code, IMAGE)]
    assert view.findings[0].message.startswith(f"{MASK}: ")
    assert len(by_ref(view)) == 8


def test_pixels_of_no_class_are_told(root: Path) -> None:
    mask = np.zeros((SIDE, SIDE, 3), np.uint8)
    mask[5:15, 5:15] = (255, 0, 0)
    mask[30:40, 5:15] = (0, 0, 255)
    save(root / MASK, mask)
    entries = [
        replace(entry, mask_classes=(replace(entry.mask_classes[0], colour="#ff0000"),))
        for entry in entries_of(root)
        if entry.source_ref == IMAGE
    ]
    view = detect(root, entries)
    assert by_ref(view)[IMAGE].truth.boxes == (BoundingBox("cross", 5, 5, 10, 10),)
    assert found(view) == [("WARNING_UNMATCHED_PIXELS", IMAGE)]
    assert "100 pixels" in view.findings[0].message


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"other")], ids=["gone", "changed"])
def test_mask_that_changed_since_ingest_stops_the_run(root: Path, change: object) -> None:
    entries = entries_of(root)
    change(root / MASK)
    with pytest.raises(SourceChanged, match="000_mask"):
        detect(root, entries)


def test_masks_are_read_from_the_folder_of_their_split(root: Path, tmp_path: Path) -> None:
    other = paint_mvtec(tmp_path / "other", seed=7)
    divided = {"train": entries_of(root), "validation": [], "test": entries_of(other)}
    view = detection_view(divided, {"train": root, "validation": root, "test": other}, MaskOptions(), lambda *_: None)
    assert {split: len(view.entries[split]) for split in SPLITS} == {"train": 9, "validation": 0, "test": 24}


def test_boxes_that_are_known_need_no_mask(tmp_path: Path) -> None:
    boxes = (BoundingBox("bent", 1, 2, 3, 4),)
    entry = ImageEntry("a.png", "ab" * 32, 64, 48, Truth(("bent", "whole"), boxes), mask_ref="gone.png")
    assert by_ref(detect(tmp_path, [entry]))["a.png"].truth == Truth(("bent",), boxes)


def test_labels_of_the_whole_image_beside_boxes_are_told() -> None:
    boxes = (BoundingBox("bent", 1, 2, 3, 4),)
    entries = [
        ImageEntry("a.png", "ab" * 32, 64, 48, Truth(("bent", "scratched"), boxes)),
        ImageEntry("b.png", "cd" * 32, 64, 48, Truth(("good",), ())),
        ImageEntry("c.png", "ef" * 32, 64, 48, Truth(("bent",), boxes)),
    ]
    findings = detect(Path(), entries).findings
    assert [(one.code, one.source_ref) for one in findings] == [("WARNING_LABEL_WITHOUT_BOX", "a.png")]
    assert "scratched is said" in findings[0].message


BOTH = ImageEntry("a.png", "ab" * 32, 64, 48, Truth(("bent", "cut")))
BENT = ImageEntry("b.png", "cd" * 32, 64, 48, Truth(("bent",)))
NEITHER = ImageEntry("c.png", "ef" * 32, 64, 48, Truth(()))
UNBOXED = ImageEntry("d.png", "12" * 32, 64, 48, Truth((), ()))
MASKED = ImageEntry("e.png", "34" * 32, 64, 48, Truth(()), mask_ref="e_mask.png")
OF_ALL_KINDS = (BOTH, BENT, NEITHER, UNBOXED, MASKED)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param((BENT, NEITHER, UNBOXED), "one", id="one or none"),
        pytest.param((BENT, BOTH), "any", id="two of one image"),
        pytest.param((), "one", id="nothing"),
    ],
)
def test_source_tells_how_many_labels_an_image_may_have(entries: tuple[ImageEntry, ...], expected: str) -> None:
    assert choose_labels_per_image(as_trained(entries)) == expected


def test_any_number_of_labels_none_among_it() -> None:
    view = classification_view(as_trained(OF_ALL_KINDS), "any")
    assert list(by_ref(view)) == ["a.png", "b.png", "c.png", "d.png"]
    assert {entry.truth.boxes for entry in view.entries["train"]} == {None}
    assert count_labels(view)["train"] == {"bent": 2, "cut": 1}
    assert count_negatives(view) == {"train": 2, "validation": 0, "test": 0}
    assert found(view) == [("WARNING_UNANNOTATED_RECORD", "e.png")]


def test_one_label_where_one_is_asked_for() -> None:
    view = classification_view(as_trained(OF_ALL_KINDS), "one")
    assert list(by_ref(view)) == ["b.png"]
    nothing_known = [("WARNING_UNANNOTATED_RECORD", ref) for ref in ("c.png", "d.png", "e.png")]
    assert found(view) == [("ERROR_TOO_MANY_LABELS_PER_IMAGE", "a.png"), *nothing_known]


def test_label_that_a_split_lacks_is_named() -> None:
    divided = {"train": [BOTH, NEITHER], "validation": [], "test": [BENT]}
    (finding,) = classification_view(divided, "any").findings
    assert (finding.code, finding.source_ref) == ("WARNING_RARE_LABEL", "a.png")
    assert finding.message == "'cut' is a label of 1 image only, none of them in test; add images"
    assert classification_view({**divided, "test": [BOTH]}, "any").findings == ()


def test_progress_is_told_image_by_image(root: Path) -> None:
    steps: list[tuple[int, int]] = []
    divided = as_trained(entries_of(root))
    detection_view(divided, dict.fromkeys(SPLITS, root), MaskOptions(), lambda *step: steps.append(step))
    assert steps == [(done, 9) for done in range(1, 10)]


def test_images_keep_their_splits(root: Path) -> None:
    save(root / "train" / "good" / "more.png", paint_shape("round", SIDE, (99,)))
    entries = entries_of(root)
    divided = {"train": entries[:4], "validation": entries[4:6], "test": entries[6:]}
    view = detection_view(divided, dict.fromkeys(SPLITS, root), MaskOptions(), lambda *_: None)
    refs = {split: [entry.source_ref for entry in view.entries[split]] for split in SPLITS}
    assert refs == {split: [entry.source_ref for entry in divided[split]] for split in SPLITS}


BOX = BoundingBox("scratch", 1, 2, 3, 4)
KINDS = {
    "good by its label": (Truth(("good",)), Truth((), ())),
    "Normal with a capital": (Truth(("Normal",)), Truth((), ())),
    "looked at, nothing found": (Truth((), ()), Truth((), ())),
    "normal and looked at": (Truth(("normal",), ()), Truth((), ())),
    "a defect by its label": (Truth(("bent",)), Truth(("anomaly",))),
    "a defect without its box": (Truth(("bent",), ()), Truth(("anomaly",))),
    "good but for a box": (Truth(("good", "scratch"), (BOX,)), Truth(("anomaly",), (replace(BOX, label="anomaly"),))),
    "a box alone": (Truth(("scratch",), (BOX,)), Truth(("anomaly",), (replace(BOX, label="anomaly"),))),
    "nothing known": (Truth(()), None),
}


@pytest.mark.parametrize(("truth", "expected"), KINDS.values(), ids=KINDS)
def test_normal_or_not(truth: Truth, expected: Truth | None) -> None:
    entry = ImageEntry("a.png", "0" * 64, 20, 20, truth)
    view = look_for_anomalies({"train": [], "validation": [], "test": [entry]}, Path())
    if expected is None:
        assert (view.entries["test"], found(view)) == ([], [("WARNING_UNANNOTATED_RECORD", "a.png")])
    else:
        assert ([one.truth for one in view.entries["test"]], found(view)) == ([expected], [])


def test_masks_give_anomalies_their_boxes_and_training_keeps_none_of_them(root: Path) -> None:
    entries = entries_of(root)
    learned = look_for_anomalies(as_trained(entries), root)
    assert {entry.source_ref.split("/")[1] for entry in learned.entries["train"]} == {"good"}
    tested = by_ref(look_for_anomalies({"train": [], "validation": [], "test": entries}, root))
    assert len(tested) == len(entries)
    assert tested[IMAGE].truth.labels == ("anomaly",)
    boxes = by_ref(detect(root))[IMAGE].truth.boxes
    assert tested[IMAGE].truth.boxes == tuple(replace(box, label="anomaly") for box in boxes)


def test_mask_that_cannot_be_read_leaves_an_anomaly_without_boxes(root: Path) -> None:
    (root / MASK).write_bytes(png_bytes(np.zeros((5, 5), np.uint8)))
    entries = [entry for entry in entries_of(root) if entry.source_ref == IMAGE]
    view = look_for_anomalies({"train": [], "validation": [], "test": entries}, root)
    assert [entry.truth for entry in view.entries["test"]] == [Truth(("anomaly",))]


def look_for_anomalies(divided: dict, root: Path) -> View:
    return anomaly_view(divided, dict.fromkeys(SPLITS, root), MaskOptions(), NORMAL_LABELS, lambda done, total: None)
