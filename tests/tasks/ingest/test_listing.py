"""What a listing makes of annotations and files together: references, splits, repetitions, what nobody named."""

import json
from pathlib import Path

import pytest

from tasks.annotations.annotated import StatedBox
from tasks.errors import DataError, RequestError
from tasks.ingest.annotation_files import ReadingRules
from tasks.ingest.layouts import Listing
from tasks.ingest.listing import list_source as list_opened
from tasks.ingest.sources import OpenedSource
from tests.sources import (
    LABEL,
    box_line,
    list_source,
    paint_boxed,
    some_boxes,
    write_coco,
    write_lines,
    write_manifest,
    write_table,
    write_voc,
    write_yolo,
)

BOXES = some_boxes("images/1.png", "images/2.png", "images/3.png")
REFS = list(BOXES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return paint_boxed((tmp_path / "parts").resolve(), BOXES)


def refs_of(listing: Listing) -> list[str]:
    return [file.source_ref for file in listing.files]


def codes(listing: Listing) -> list[tuple[str, str]]:
    return sorted((finding.code, finding.source_ref) for finding in listing.findings)


def splits(listing: Listing) -> dict[str, str]:
    return {file.source_ref: file.given_split for file in listing.files}


# References


@pytest.mark.parametrize(
    ("folder", "reference"),
    [
        pytest.param("", "images/{}.png", id="relative to the manifest at the root"),
        pytest.param("lists", "../images/{}.png", id="relative to the manifest in a folder"),
        pytest.param("lists", "images/{}.png", id="relative to the root"),
        pytest.param("lists", "{}.png", id="by the end of the path"),
        pytest.param("lists", "{root}/images/{}.png", id="absolute"),
        pytest.param("lists", "file://{root}/images/{}.png", id="file address"),
        pytest.param("", "images/./x/../{}.png", id="roundabout"),
        pytest.param("", "images\\{}.png", id="backslashes"),
    ],
)
def test_references_below_the_source(root: Path, folder: str, reference: str) -> None:
    lines = [box_line(reference.format(number, root=root), BOXES[REFS[number - 1]]) for number in (1, 2, 3)]
    write_lines(root / folder / "train.manifest", *lines)
    listing = list_source(root)
    assert refs_of(listing) == REFS
    assert listing.findings == ()
    assert listing.files[0].stated_ref == reference.format(1, root=root)
    assert listing.manifests == (str(root / folder / "train.manifest"),)


@pytest.mark.parametrize(
    "reference", ["images/{}.png", "{root}/images/{}.png", "{}.png"], ids=["relative", "absolute", "end of path"]
)
def test_references_below_a_named_images_folder(root: Path, tmp_path: Path, reference: str) -> None:
    lines = [box_line(reference.format(number, root=root), BOXES[REFS[number - 1]]) for number in (1, 2, 3)]
    manifest = write_lines(tmp_path / "elsewhere" / "train.manifest", *lines)
    for listing in (list_source(root, annotation_file=manifest), list_source(root, folder=manifest.parent)):
        assert refs_of(listing) == REFS
        assert listing.findings == ()


def test_references_to_buckets_need_a_rule(root: Path) -> None:
    write_lines(root / "a.manifest", *(box_line(f"s3://photos/set/{n}.png", BOXES[REFS[n - 1]]) for n in (1, 2, 3)))
    assert refs_of(list_source(root, rewrite=("s3://photos/set/=images/",))) == REFS
    assert refs_of(list_source(root, rewrite=(f"s3://photos/set/={root}/images/", "s3://photos/=nowhere/"))) == REFS
    with pytest.raises(DataError, match=r"name no usable image \(ERROR_INVALID_SOURCE_REF_FORMAT 3"):
        list_source(root)


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("/etc/passwd", "ERROR_OUTSIDE_SOURCE"),
        ("../../x.png", "ERROR_OUTSIDE_SOURCE"),
        ("images/../../x.png", "ERROR_OUTSIDE_SOURCE"),
        ("..\\..\\x.png", "ERROR_OUTSIDE_SOURCE"),
        ("\\etc\\passwd", "ERROR_OUTSIDE_SOURCE"),
        ("file:///etc/passwd", "ERROR_OUTSIDE_SOURCE"),
        ("https://host/1.png", "ERROR_INVALID_SOURCE_REF_FORMAT"),
        ("a\nb.png", "ERROR_INVALID_SOURCE_REF_FORMAT"),
        ("", "ERROR_INVALID_SOURCE_REF_FORMAT"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["Ground Truth", "COCO", "CSV"])
def test_references_that_lead_out_are_findings_and_the_others_stay(
    root: Path, kind: str, reference: str, code: str
) -> None:
    boxes = {reference: [(1, 1, 9, 9)] if kind == "CSV" else [], **BOXES}
    if kind == "Ground Truth":
        write_manifest(root / "a.manifest", boxes)
    elif kind == "COCO":
        write_coco(root / "a.json", boxes)
    else:
        write_table(root / "a.csv", boxes)
    listing = list_source(root)
    assert listing.layout == kind
    assert refs_of(listing) == REFS
    # One of four lines is too many for the managed service.
    assert {one.code for one in listing.findings} - {"ERROR_TOO_MANY_INVALID_ROWS_IN_MANIFEST"} == {code}


@pytest.mark.parametrize("outside", [False, True], ids=["folder", "beside the images' folder"])
def test_link_that_leads_out_is_told_wherever_it_lies(root: Path, tmp_path: Path, outside: bool) -> None:
    folder = tmp_path / "lists" if outside else root
    write_manifest(folder / "a.manifest", BOXES)
    (tmp_path / "secret.manifest").write_text("")
    (folder / "b.manifest").symlink_to(tmp_path / "secret.manifest")
    listing = list_source(root, folder=folder)
    assert codes(listing) == [("ERROR_OUTSIDE_SOURCE", "b.manifest")]
    assert listing.manifests == (str(folder / "a.manifest"),)


def test_link_below_both_folders_is_told_once(root: Path) -> None:
    write_manifest(root / "a.manifest", some_boxes("1.png", "2.png", "3.png"))
    (root / "images" / "link.png").symlink_to("/etc/passwd")
    listing = list_source(root / "images", folder=root)
    assert codes(listing) == [("ERROR_OUTSIDE_SOURCE", "link.png")]
    assert refs_of(listing) == ["1.png", "2.png", "3.png"]


def test_images_folder_without_annotations_is_the_requests_fault(root: Path, tmp_path: Path) -> None:
    labelled = paint_boxed(tmp_path / "labelled", some_boxes("a/1.png", "b/2.png"))
    with pytest.raises(RequestError, match=r"holds no annotation files .* data\.image_root"):
        list_source(root, folder=labelled)


# Splits


def test_manifests_name_their_splits(root: Path) -> None:
    for name, ref in zip(("train", "validation", "test"), REFS, strict=True):
        write_manifest(root / f"{name}.manifest", {ref: BOXES[ref]})
    assert splits(list_source(root)) == dict(zip(REFS, ("train", "validation", "test"), strict=True))


def test_tables_name_their_splits_where_their_rows_do_not(root: Path) -> None:
    write_table(root / "train.csv", {REFS[0]: BOXES[REFS[0]]})
    (root / "test.csv").write_text(
        f"image,label,split\n{REFS[1]},a,\n{REFS[2]},a,validation\n",
    )
    assert splits(list_source(root)) == dict(zip(REFS, ("train", "test", "validation"), strict=True))


def test_coco_of_roboflow(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    for split in ("train", "valid", "test"):
        paint_boxed(root, some_boxes(f"{split}/1.png", f"{split}/2.png"))
        write_coco(root / split / "_annotations.coco.json", some_boxes("1.png", "2.png"))
    listing = list_source(root)
    assert splits(listing) == {
        f"{folder}/{number}.png": split
        for folder, split in (("train", "train"), ("valid", "validation"), ("test", "test"))
        for number in (1, 2)
    }
    assert listing.findings == ()


def test_coco_of_coco(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    for split, number in (("train2017", 1), ("val2017", 2)):
        boxes = some_boxes(f"00000{number}.png")
        paint_boxed(root / split, boxes)
        write_coco(root / "annotations" / f"instances_{split}.json", boxes)
    listing = list_source(root)
    assert splits(listing) == {"train2017/000001.png": "train", "val2017/000002.png": "validation"}
    assert listing.findings == ()


def test_image_sets_of_voc_count_wherever_the_images_lie(tmp_path: Path) -> None:
    root, boxes = tmp_path.resolve(), some_boxes("JPEGImages/1.png", "JPEGImages/2.png")
    write_voc(paint_boxed(root, boxes), boxes)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "test.txt").write_text("2\n")
    assert splits(list_source(root)) == {"JPEGImages/1.png": "", "JPEGImages/2.png": "test"}
    assert splits(list_source(root / "JPEGImages", folder=root)) == {"1.png": "", "2.png": "test"}


def test_yolo_splits_and_boxes(tmp_path: Path) -> None:
    root, boxes = tmp_path.resolve(), {**some_boxes("images/train/1.png", "images/val/2.png"), "images/val/3.png": []}
    write_yolo(paint_boxed(root, boxes), boxes)
    listing = list_source(root)
    assert splits(listing) == {
        "images/train/1.png": "train",
        "images/val/2.png": "validation",
        "images/val/3.png": "validation",
    }
    assert [len(file.boxes or ()) for file in listing.files] == [1, 1, 0]
    assert list_source(root, annotation_file=root / "data.yaml").files == listing.files


# Repetition, and what nobody named


@pytest.mark.parametrize(
    ("first", "second", "used"),
    [
        pytest.param("a.manifest", "b.manifest", "a.manifest", id="first name"),
        pytest.param("a_train.manifest", "b_test.manifest", "b_test.manifest", id="test before training"),
        pytest.param("a_train.manifest", "b_val.manifest", "b_val.manifest", id="validation before training"),
        pytest.param("a.manifest", "b_train.manifest", "b_train.manifest", id="any split before none"),
    ],
)
def test_image_of_two_files_is_used_once(root: Path, first: str, second: str, used: str) -> None:
    boxes = {first: (1, 1, 10, 10), second: (2, 2, 20, 20)}
    for name, box in boxes.items():
        write_manifest(root / name, BOXES | {REFS[0]: [box]})
    listing = list_source(root)
    assert refs_of(listing) == REFS
    assert listing.files[0].boxes == (StatedBox(LABEL, *boxes[used]),)
    assert codes(listing) == [("WARNING_DUPLICATE_SOURCE_REF", ref) for ref in REFS]


def test_outcome_of_a_labelling_job_is_used_alone(root: Path) -> None:
    write_manifest(root / "job/manifests/output/output.manifest", BOXES)
    write_manifest(root / "job/manifests/intermediate/1/inference.manifest", BOXES | {REFS[0]: [(9, 9, 9, 9)]})
    listing = list_source(root)
    assert listing.findings == ()
    assert listing.files[0].boxes == (StatedBox(LABEL, *BOXES[REFS[0]][0]),)


def test_files_that_no_annotation_names_are_told_once_with_their_number(root: Path) -> None:
    write_manifest(root / "a.manifest", {REFS[1]: BOXES[REFS[1]]})
    (root / "notes.txt").write_text("x")
    listing = list_source(root)
    assert codes(listing) == [("WARNING_UNANNOTATED_FILE", REFS[0])]
    assert listing.findings[0].message.startswith("2 image files are named by no annotation")


def test_masks_are_named_and_so_are_images_whose_annotation_is_bad(root: Path) -> None:
    (root / "boxes.csv").write_text(f"image,label,mask\n{REFS[0]},a,{REFS[1]}\n")
    assert [code for code, _ in codes(list_source(root))] == ["WARNING_UNANNOTATED_FILE"]
    (root / "boxes.csv").unlink()
    write_lines(
        root / "a.manifest",
        box_line(REFS[0], BOXES[REFS[0]]),
        {"source-ref": REFS[1], "x": "?"},
        {"source-ref": REFS[2]},
    )
    listing = list_source(root)
    assert refs_of(listing) == REFS[:1]
    assert {ref for _, ref in codes(listing)} - {"a.manifest"} == set(REFS[1:])
    assert "WARNING_UNANNOTATED_FILE" not in dict(codes(listing))


@pytest.mark.parametrize("label", ["x" * 10_000, "a\x07b", "a\nb", ""], ids=["long", "bell", "line break", "empty"])
def test_label_of_a_box_that_cannot_be_used(root: Path, label: str) -> None:
    bad = box_line(REFS[0], BOXES[REFS[0]])
    bad["boxes-metadata"]["class-map"] = {"0": label}  # type: ignore[index]
    write_lines(root / "a.manifest", bad, *(box_line(ref, BOXES[ref]) for ref in REFS[1:]))
    listing = list_source(root)
    assert refs_of(listing) == REFS[1:]
    errors = [finding for finding in listing.findings if finding.severity == "error"]
    assert {finding.source_ref for finding in errors} - {"a.manifest"} == {REFS[0]}
    assert all(len(finding.message) < 500 and finding.message.isprintable() for finding in errors)


# Whole files


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        pytest.param("a.json", '{"images": 3}', "is no annotation file that can be read", id="other JSON"),
        pytest.param("a.csv", "time\n3\n", "is no annotation file that can be read", id="other table"),
        pytest.param("a.manifest", "\x00\xff", "is no annotation file that can be read", id="bytes"),
        pytest.param("a.jsonl", "", "is no annotation file that can be read", id="empty"),
        pytest.param("a.json", '{"images": [], "annotations": [], "categories": [', "is no JSON", id="cut COCO"),
        pytest.param("a.json", '{"images": 1, "annotations": 2, "categories": 3}', "is no COCO file", id="no COCO"),
        pytest.param(
            "a.json", '{"images": [], "annotations": [], "categories": []}', "they are empty", id="empty COCO"
        ),
        pytest.param("a.csv", "image,label\n", "has a heading and no rows", id="empty table"),
        pytest.param("a.yaml", "names: [a]\ntrain: nowhere\n", "name no usable image", id="YOLO without images"),
        pytest.param("a.yaml", "names: {\ntrain: x\nnames: y\n", "is no YAML", id="broken YAML"),
        pytest.param("a.manifest", '{"source-ref"\n', "name no usable image (ERROR_INVALID_JSON_LINE 1", id="broken"),
    ],
)
def test_named_file_of_no_use_is_one_sentence(root: Path, name: str, content: str, said: str) -> None:
    (root / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        list_source(root, annotation_file=root / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_pattern_is_no_column_and_a_column_is_a_column(root: Path) -> None:
    (root / "a.csv").write_text("image,label,lot (week)\n" + "".join(f"{ref},a,lot{ref[-5]}\n" for ref in REFS))
    source = OpenedSource(root, root)
    by_column = list_opened(source, [], ReadingRules("open", "lot (week)"))
    assert [file.group for file in by_column.files] == ["lot1", "lot2", "lot3"]
    by_pattern = list_opened(source, [], ReadingRules("open", r"(\d)\.png"))
    assert [file.group for file in by_pattern.files] == ["", "", ""]
    with pytest.raises(DataError, match="no column 'week' to group by"):
        list_opened(source, [], ReadingRules("open", "week"))


def test_json_of_coco_beside_class_folders_wins(root: Path) -> None:
    write_coco(root / "a.json", BOXES)
    (root / "images" / "info.json").write_text(json.dumps({"by": "me"}))
    assert list_source(root).layout == "COCO"
    (root / "a.json").write_text("[]")
    assert list_source(root).layout == "class folders"
