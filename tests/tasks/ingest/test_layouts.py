import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DataError
from tasks.ingest.layouts import Listing
from tests.makers import paint_class_folders, paint_mvtec, paint_split_folders
from tests.sources import list_source

SHARED = Path(__file__).resolve().parents[3] / "../shared/data/mvtec_transistor"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root.resolve()


def rows(listing: Listing) -> list[tuple[str, str, str]]:
    return [(file.source_ref, file.labels[0], file.given_split) for file in listing.files]


def codes(listing: Listing) -> dict[str, str]:
    return {finding.source_ref: finding.code for finding in listing.findings}


LAYOUTS = {
    "class folders": (
        ["cut/1.png", "good/1.png", "good/deep/er/2.JPG"],
        "class folders",
        [("cut/1.png", "cut", ""), ("good/1.png", "good", ""), ("good/deep/er/2.JPG", "good", "")],
    ),
    "one class folder": (["good/1.png"], "class folders", [("good/1.png", "good", "")]),
    "split folders": (
        ["train/a/1.png", "val/a/2.png", "test/b/x/3.png"],
        "split folders",
        [("test/b/x/3.png", "b", "test"), ("train/a/1.png", "a", "train"), ("val/a/2.png", "a", "validation")],
    ),
    "split folders of other names": (
        ["Training/a/1.png", "VALID/a/2.png", "testing/b/3.png"],
        "split folders",
        [
            ("Training/a/1.png", "a", "train"),
            ("VALID/a/2.png", "a", "validation"),
            ("testing/b/3.png", "b", "test"),
        ],
    ),
    "train folder alone": (["train/a/1.png"], "split folders", [("train/a/1.png", "a", "train")]),
    "classes that are named like splits": (
        ["train/1.png", "test/2.png"],
        "class folders",
        [("test/2.png", "test", ""), ("train/1.png", "train", "")],
    ),
    "split folder beside a class folder": (
        ["train/a/1.png", "good/2.png"],
        "class folders",
        [("good/2.png", "good", ""), ("train/a/1.png", "train", "")],
    ),
    "MVTec": (
        ["train/good/1.png", "test/good/2.png", "test/cut/3.png", "ground_truth/cut/3_mask.png"],
        "MVTec",
        [("test/cut/3.png", "cut", "test"), ("test/good/2.png", "good", "test"), ("train/good/1.png", "good", "train")],
    ),
    "MVTec without masks": (
        ["train/good/1.png", "test/cut/3.png"],
        "MVTec",
        [("test/cut/3.png", "cut", "test"), ("train/good/1.png", "good", "train")],
    ),
    "split folders with a text beside the label folders": (
        ["train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png", "train/notes.txt"],
        "split folders",
        [
            ("test/a/3.png", "a", "test"),
            ("test/b/4.png", "b", "test"),
            ("train/a/1.png", "a", "train"),
            ("train/b/2.png", "b", "train"),
        ],
    ),
    "split folders with a folder of texts beside them": (
        ["train/a/1.png", "train/b/2.png", "test/a/3.png", "meta/info.json"],
        "split folders",
        [("test/a/3.png", "a", "test"), ("train/a/1.png", "a", "train"), ("train/b/2.png", "b", "train")],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_labels_and_splits(tmp_path: Path, name: str) -> None:
    names, layout, expected = LAYOUTS[name]
    listing = list_source(touch(tmp_path, *names))
    assert listing.layout == layout
    assert rows(listing) == expected


@pytest.mark.parametrize(
    "suffix", [".jpg", ".JPEG", ".Png", ".bmp", ".TIF", ".tiff", ".webp"], ids=lambda suffix: suffix[1:]
)
def test_every_suffix_in_any_case(tmp_path: Path, suffix: str) -> None:
    assert len(list_source(touch(tmp_path, f"a/1{suffix}")).files) == 1


@pytest.mark.parametrize(
    "label",
    ["my label", "größe", "部品", "a'b\"c", "a,b;c", "$HOME", "#1", "-x", "a=b&c", "😀", "x" * 200, "CON", "label."],
)
def test_odd_labels_are_taken_as_they_are(tmp_path: Path, label: str) -> None:
    listing = list_source(touch(tmp_path, f"{label}/1.png"))
    assert rows(listing) == [(f"{label}/1.png", label, "")]
    assert listing.findings == ()


@pytest.mark.parametrize("label", ["a\nb", "a\tb", "bell\x07", "a\u2028b", "zero\u200bwidth"], ids=repr)
def test_labels_that_cannot_be_printed_are_errors(tmp_path: Path, label: str) -> None:
    listing = list_source(touch(tmp_path, f"{label}/1.png", "good/1.png"))
    assert rows(listing) == [("good/1.png", "good", "")]
    assert codes(listing) == {f"{label}/1.png": "ERROR_INVALID_LABEL_NAME"}


@pytest.mark.parametrize(
    "name", ["my image (1).png", "größe.png", "a\nb.png", "-rf.png", "%20.png", "x" * 240 + ".png"]
)
def test_odd_file_names_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    listing = list_source(touch(tmp_path, f"good/{name}"))
    assert [file.source_ref for file in listing.files] == [f"good/{name}"]


def test_very_deep_folders(tmp_path: Path) -> None:
    ref = "good/" + "d/" * 300 + "1.png"
    assert rows(list_source(touch(tmp_path, ref))) == [(ref, "good", "")]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png", "a/.hidden.png", ".git/x/1.png", "a/.cache/2.png", "a/Thumbs.db", ".DS_Store")
    listing = list_source(root)
    assert rows(listing) == [("a/1.png", "a", "")]
    assert listing.findings == ()


def test_files_that_are_no_images_and_images_without_label_are_told(tmp_path: Path) -> None:
    listing = list_source(touch(tmp_path, "a/1.png", "a/notes.txt", "a/noending", "readme.md", "loose.png"))
    assert rows(listing) == [("a/1.png", "a", "")]
    assert codes(listing) == {
        "a/notes.txt": "WARNING_IGNORED_FILE",
        "a/noending": "WARNING_IGNORED_FILE",
        "readme.md": "WARNING_IGNORED_FILE",
        "loose.png": "WARNING_UNANNOTATED_RECORD",
    }


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([], id="empty"),
        pytest.param(["readme.txt", "a/notes.txt"], id="no image"),
        pytest.param(["1.png", "2.png"], id="images without label"),
        pytest.param([".hidden/1.png"], id="hidden only"),
        pytest.param(["a\tb/1.png"], id="wrong labels only"),
    ],
)
def test_source_without_labelled_images_is_one_sentence(tmp_path: Path, names: list[str]) -> None:
    root = touch(tmp_path, *names)
    with pytest.raises(DataError, match="holds no image in a folder named by its label") as caught:
        list_source(root)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_folders_are_no_labels(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert rows(list_source(touch(tmp_path, "a/1.png"))) == [("a/1.png", "a", "")]


# Names that are no text, and links


def encodable(listing: Listing) -> bool:
    return bool([finding.model_dump_json().encode("utf-8") for finding in listing.findings])


def test_names_that_are_not_utf8_are_errors(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png")
    (root / os.fsdecode(b"a/\xff\xfe.png")).write_bytes(b"x")
    (root / os.fsdecode(b"\xe9t\xe9")).mkdir()
    (root / os.fsdecode(b"\xe9t\xe9/2.png")).write_bytes(b"x")
    listing = list_source(root)
    assert rows(listing) == [("a/1.png", "a", "")]
    assert sorted(codes(listing).values()) == ["ERROR_INVALID_FILE_NAME"] * 2
    assert {"a/\\xff\\xfe.png", "\\xe9t\\xe9/2.png"} == set(codes(listing))
    assert encodable(listing)


@pytest.mark.parametrize("is_folder", [True, False], ids=["folder", "file"])
def test_links_out_of_the_source_whose_names_are_not_utf8(tmp_path: Path, is_folder: bool) -> None:
    root = touch(tmp_path / "source", "a/1.png")
    touch(tmp_path / "elsewhere", "2.png")
    target = tmp_path / "elsewhere" if is_folder else tmp_path / "elsewhere" / "2.png"
    (root / os.fsdecode(b"a/\xff.png")).symlink_to(target)
    listing = list_source(root)
    assert rows(listing) == [("a/1.png", "a", "")]
    assert len(listing.findings) == 1
    assert encodable(listing)


def test_links_out_of_the_source_are_errors(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "b/1.png")
    root = touch(tmp_path / "source", "a/1.png")
    (root / "a" / "link.png").symlink_to(tmp_path / "elsewhere" / "b" / "1.png")
    (root / "a" / "up.png").symlink_to("../../elsewhere/b/1.png")
    (root / "b").symlink_to(tmp_path / "elsewhere" / "b")
    listing = list_source(root)
    assert rows(listing) == [("a/1.png", "a", "")]
    assert codes(listing) == dict.fromkeys(["a/link.png", "a/up.png", "b"], "ERROR_OUTSIDE_SOURCE")


def test_links_to_files_within_the_source_are_taken(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png")
    (root / "a" / "2.png").symlink_to("1.png")
    assert [file.source_ref for file in list_source(root).files] == ["a/1.png", "a/2.png"]


def test_link_to_a_folder_within_the_source_is_not_said_to_lead_out(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png")
    (root / "b").symlink_to("a")
    listing = list_source(root)
    assert codes(listing).get("b") != "ERROR_OUTSIDE_SOURCE"


def test_circle_of_folders_ends(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png")
    (root / "a" / "again").symlink_to("..")
    assert [file.source_ref for file in list_source(root).files] == ["a/1.png"]


@pytest.mark.parametrize("target", ["nowhere.png", "link.png"], ids=["dangling", "to itself"])
def test_links_that_lead_nowhere_are_errors(tmp_path: Path, target: str) -> None:
    root = touch(tmp_path, "a/1.png")
    (root / "a" / "link.png").symlink_to(target)
    listing = list_source(root)
    told = {finding.source_ref: finding.severity for finding in listing.findings}
    listed = {file.source_ref for file in listing.files}
    # Either the listing says so, or the file is listed and the checks say so.
    assert told.get("a/link.png") == "error" or "a/link.png" in listed


def test_special_files_are_passed_over(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/1.png")
    os.mkfifo(root / "a" / "pipe.png")
    assert [file.source_ref for file in list_source(root).files] == ["a/1.png"]


def test_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, real_scandir = touch(tmp_path, "a/1.png", "b/2.png"), os.scandir

    def scandir(path: Any) -> Any:
        if Path(os.fsdecode(path)).name == "b":
            raise PermissionError(13, "Permission denied", os.fsdecode(path))
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = list_source(root)
    assert rows(listing) == [("a/1.png", "a", "")]
    assert [(finding.source_ref, finding.severity) for finding in listing.findings] == [("b", "error")]


def test_order_of_the_file_system_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = touch(tmp_path / "source", *(f"{label}/{number}.png" for label in "abc" for number in range(3)))
    for label in "abc":
        for number in range(2):
            (root / label / f"link{number}.png").symlink_to(tmp_path)
            (root / os.fsdecode(label.encode() + b"/\xff%d.png" % number)).write_bytes(b"x")
    expected, real_walk = list_source(root), os.walk

    def backwards(top: Any, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, subfolders, names in real_walk(top, **options):
            subfolders.sort(reverse=True)
            yield folder, subfolders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert list_source(root) == expected


# MVTec


def test_masks_are_paired(tmp_path: Path) -> None:
    root = paint_mvtec(tmp_path, images_per_defect=3, good_train=2, good_test=2).resolve()
    listing = list_source(root)
    assert Counter(file.labels[0] for file in listing.files) == {"good": 4, "cross": 3, "ring": 3}
    for file in listing.files:
        if file.labels[0] == "good":
            assert file.mask_ref == ""
        else:
            stem = Path(file.source_ref).stem
            assert file.mask_ref == f"ground_truth/{file.labels[0]}/{stem}_mask.png"
    assert listing.findings == ()


@pytest.mark.parametrize(
    ("mask", "image", "paired"),
    [
        pytest.param("ground_truth/cut/1_mask.png", "test/cut/1.png", True, id="with ending"),
        pytest.param("ground_truth/cut/1.png", "test/cut/1.png", True, id="without ending"),
        pytest.param("ground_truth/cut/1_mask.png", "test/cut/1.JPG", True, id="other format"),
        pytest.param("ground_truth/cut/2_mask.png", "test/cut/1.png", False, id="other number"),
        pytest.param("ground_truth/bent/1_mask.png", "test/cut/1.png", False, id="other label"),
        pytest.param("ground_truth/cut/1_mask.png", "train/cut/1.png", False, id="training image"),
    ],
)
def test_mask_and_image(tmp_path: Path, mask: str, image: str, paired: bool) -> None:
    listing = list_source(touch(tmp_path, "train/good/1.png", "test/good/1.png", mask, image))
    masks = {file.source_ref: file.mask_ref for file in listing.files}
    assert masks[image] == (mask if paired else "")
    assert codes(listing) == ({} if paired else {mask: "WARNING_MASK_WITHOUT_IMAGE"})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the MVTec transistors are not here")
def test_mvtec_transistors_are_listed() -> None:
    listing = list_source(SHARED.resolve())
    assert listing.layout == "MVTec"
    assert Counter(file.labels[0] for file in listing.files) == {
        "good": 273,
        "bent_lead": 10,
        "cut_lead": 10,
        "damaged_case": 10,
        "misplaced": 10,
    }
    assert len({file.mask_ref for file in listing.files if file.mask_ref}) == 40
    assert [finding for finding in listing.findings if finding.severity == "error"] == []


def test_painted_folders_are_recognised(tmp_path: Path) -> None:
    assert list_source(paint_class_folders(tmp_path / "c", images_per_label=1).resolve()).layout == "class folders"
    assert list_source(paint_split_folders(tmp_path / "s").resolve()).layout == "split folders"
