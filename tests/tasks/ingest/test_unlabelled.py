"""Images of sources of all kinds, listed without a look at labels."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.references import RewriteRule
from tasks.errors import DataError, RequestError
from tasks.ingest.records import ListedImage, read_listed, write_listed
from tasks.ingest.sources import open_source
from tasks.ingest.task import list_images
from tasks.ingest.unlabelled import list_unlabelled
from tasks.stores.home import Home
from tests.makers import paint_class_folders, paint_mvtec


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home", "", "")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def listed(home, source, *, image_root="", rewrite=()):
    images, findings = list_unlabelled(open_source(str(source), home.store, str(image_root)), rewrite)
    return [image.source_ref for image in images], [(one.code, one.source_ref) for one in findings]


@pytest.mark.parametrize(
    ("files", "refs", "findings"),
    [
        pytest.param(["b.png", "a.JPG"], ["a.JPG", "b.png"], [], id="flat"),
        pytest.param(["x/y/z/1.png", "2.tif"], ["2.tif", "x/y/z/1.png"], [], id="any depth"),
        pytest.param([".hidden.png", ".git/1.png", "1.webp"], ["1.webp"], [], id="hidden"),
        pytest.param(["1.png", "a.txt", "b"], ["1.png"], [("WARNING_IGNORED_FILE", "a.txt")], id="other files"),
        pytest.param(["train/good/1.png", "test/cut/2.png"], ["test/cut/2.png", "train/good/1.png"], [], id="splits"),
        pytest.param(["ground_truth/1.png"], ["ground_truth/1.png"], [], id="no MVTec layout"),
    ],
)
def test_folder(home, tmp_path, files, refs, findings):
    assert listed(home, touch(tmp_path / "photos", *files)) == (refs, findings)


def test_masks_of_the_mvtec_layout_are_no_images(home, tmp_path):
    refs, findings = listed(home, paint_mvtec(tmp_path / "parts"))
    assert refs
    assert not [ref for ref in refs if ref.startswith("ground_truth/")]
    ((code, ref),) = findings
    assert (code, ref.split("/")[0]) == ("WARNING_IGNORED_FILE", "ground_truth")


def write_manifest(path, *lines):
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def test_manifest_names_images_whatever_else_it_says(home, tmp_path):
    root = touch(tmp_path / "photos", "1.png", "2.png", "3.png", "deep/4.png", "unnamed.png")
    manifest = write_manifest(
        root / "job.manifest",
        {"source-ref": "2.png", "label": 1, "label-metadata": {"class-name": "cat"}},
        {"source-ref": "1.png"},
        {"source-ref": "1.png"},
        "no JSON",
        {"source": "a text"},
        {"source-ref": "../../etc/passwd.png"},
        {"source-ref": "s3://bucket/3.png"},
        {"source-ref": "gone.png"},
        {"source-ref": "4.png"},
    )
    refs, findings = listed(home, manifest)
    assert refs == ["1.png", "2.png", "deep/4.png", "gone.png"]
    assert findings == [
        ("WARNING_DUPLICATE_SOURCE_REF", "1.png"),
        ("ERROR_INVALID_JSON_LINE", "job.manifest"),
        ("ERROR_MISSING_SOURCE_REF", "job.manifest"),
        ("ERROR_OUTSIDE_SOURCE", "../../etc/passwd.png"),
        ("ERROR_INVALID_SOURCE_REF_FORMAT", "s3://bucket/3.png"),
    ]
    refs, _ = listed(home, manifest, rewrite=[RewriteRule("s3://bucket/", "")])
    assert "3.png" in refs


def test_references_are_relative_to_the_folder_that_was_named(home, tmp_path):
    root = touch(tmp_path / "photos", "a/1.png")
    manifest = write_manifest(tmp_path / "job.manifest", {"source-ref": "a/1.png"})
    assert listed(home, manifest, image_root=root) == (["a/1.png"], [])


@pytest.mark.parametrize("name", ["empty.manifest", "coco.json", "table.csv"])
def test_other_files_are_refused(home, tmp_path, name):
    touch(tmp_path, "1.png")
    (tmp_path / name).write_text("" if name.endswith("manifest") else "{}")
    with pytest.raises(DataError, match="is no Ground Truth manifest"):
        listed(home, tmp_path / name)


def test_folder_takes_no_folder_beside_it(home, tmp_path):
    root = touch(tmp_path / "photos", "1.png")
    with pytest.raises(RequestError, match=r"images\.image_root is for the references of a manifest"):
        listed(home, root, image_root=tmp_path)


def test_links_out_of_the_source_are_not_listed(home, tmp_path):
    touch(tmp_path, "secret.png", "elsewhere/1.png")
    root = touch(tmp_path / "photos", "1.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "pipe.png")
    refs, findings = listed(home, root)
    assert refs == ["1.png"]
    assert sorted(findings) == [("ERROR_OUTSIDE_SOURCE", "folder"), ("ERROR_OUTSIDE_SOURCE", "link.png")]


def test_stage_keeps_the_list(home, tmp_path):
    source = paint_class_folders(tmp_path / "shapes", images_per_label=3)
    first = list_images.fn(home, str(source))
    assert (first.name, first.root, first.images, first.invalid, first.reused) == ("shapes", str(source), 6, 0, False)
    assert [image.source_ref for image in read_listed(first.list_path)] == sorted(
        path.relative_to(source).as_posix() for path in source.rglob("*.png")
    )
    assert list_images.fn(home, str(source)).reused
    touch(source, "new.png")
    again = list_images.fn(home, str(source))
    assert (again.images, again.reused) == (7, False)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=50, deadline=None)
@given(images=st.lists(st.tuples(names, names)))
def test_any_name_is_read_back(tmp_path_factory, images):
    path = tmp_path_factory.mktemp("list") / "listed.jsonl"
    write_listed(path, [ListedImage(*image) for image in images])
    assert list(read_listed(path)) == images
