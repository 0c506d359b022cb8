"""Images on both sides of a comparison are found: the same bytes, and pictures saved anew."""

import cv2
import numpy as np
import pytest

from tasks.dataset.entries import write_index
from tasks.dataset.near_duplicates import thumbnail
from tasks.dataset.truth import Truth
from tasks.errors import SourceChanged
from tasks.ground_truth.manifests import write_manifest
from tasks.ingest.records import IMAGES_FILE, TEST_IMAGES_FILE, THUMBNAILS_FILE
from tasks.promote.overlap import MAX_EXAMPLES, OVERLAP_STAGE, PlacedImage, find_overlap
from tasks.promote.records import Overlap
from tasks.stores.content import ContentStore, StageKey
from tasks.vision.images import decode_rgb
from tests.tasks.promote.made_versions import Painted, classifier, tinted

RED = Truth(("red",))


@pytest.fixture
def store(tmp_path):
    return ContentStore(tmp_path / "store")


@pytest.fixture
def painted(tmp_path):
    return Painted(tmp_path / "images", {})


def photograph(seed, side=96):
    """Paint a picture with some sharp edges."""
    rng = np.random.default_rng(seed)
    picture = tinted("red", seed, side).copy()
    for _ in range(3):
        (x, y), radius = rng.integers(10, side - 10, 2).tolist(), int(rng.integers(5, 15))
        cv2.circle(picture, (x, y), radius, rng.integers(30, 220, 3).tolist(), -1)
    return picture


def saved_anew(pixels):
    """Return what a JPEG of the picture shows, a little brighter."""
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return np.clip(cv2.imdecode(data, cv2.IMREAD_UNCHANGED).astype(np.int16) + 6, 0, 255).astype(np.uint8)


def search(store, tmp_path, painted, learned, tested, validated=()):
    number = len(list(tmp_path.glob("made/version-*")))
    version = classifier(tmp_path / "made", number, learned, tested, root=painted.root)
    ids = {"red": 0, "green": 1, "blue": 2}
    write_manifest(version.manifest.manifest_path("validation"), validated, ids, "made")
    return find_overlap(store, version.manifest, [PlacedImage(painted.root, entry) for entry in tested])


def test_separate_images_share_nothing(store, tmp_path, painted):
    learned = [painted.add(f"learned/{n}.png", photograph(n), RED) for n in range(6)]
    tested = [painted.add(f"tested/{n}.png", photograph(100 + n), RED) for n in range(4)]
    assert search(store, tmp_path, painted, learned, tested).examples == ()


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("is_copy", [True, False], ids=["copy", "near-duplicate"])
def test_image_of_both_sides_is_found(store, tmp_path, painted, split, is_copy):
    learned = [painted.add(f"learned/{n}.png", photograph(n), RED) for n in range(6)]
    tested = [painted.add(f"tested/{n}.png", photograph(100 + n), RED) for n in range(4)]
    shared = photograph(102) if is_copy else saved_anew(photograph(102))
    other = [painted.add("learned/again.png", shared, RED)]
    sides = (learned + other, ()) if split == "train" else (learned, other)
    found = search(store, tmp_path, painted, sides[0], tested, sides[1])
    assert (found.copies, found.near_duplicates) == ((1, 0) if is_copy else (0, 1))
    only = found.examples[0]
    assert (only.split, only.learned_ref, only.test_ref) == (split, "learned/again.png", "tested/2.png")
    assert only.is_copy == is_copy


def test_near_duplicates_on_one_side_only_are_no_overlap(store, tmp_path, painted):
    learned = [painted.add("learned/0.png", photograph(0), RED)]
    learned += [painted.add("learned/1.png", saved_anew(photograph(0)), RED)]
    tested = [painted.add("tested/0.png", photograph(100), RED)]
    tested += [painted.add("tested/1.png", saved_anew(photograph(100)), RED)]
    assert search(store, tmp_path, painted, learned, tested) == Overlap(key=store_key(store))


def store_key(store):
    """The digest under which the only search was kept."""
    (entry,) = store.entries_of(OVERLAP_STAGE)
    return Overlap.model_validate_json((entry / "record.json").read_text()).key


def test_crowd_that_shows_a_test_image_is_found_whole(store, tmp_path, painted):
    """More pictures of one scene than are compared with each other: each is found with the test image."""
    rng = np.random.default_rng(0)
    scene = photograph(100).astype(np.int16)
    crowd = [np.clip(scene + rng.integers(-3, 4, scene.shape), 0, 255).astype(np.uint8) for _ in range(40)]
    learned = [painted.add(f"learned/{n:02}.png", pixels, RED) for n, pixels in enumerate(crowd)]
    tested = [painted.add("tested/0.png", photograph(7), RED), painted.add("tested/1.png", photograph(100), RED)]
    found = search(store, tmp_path, painted, learned, tested)
    assert (found.copies, found.near_duplicates, len(found.examples)) == (0, 40, MAX_EXAMPLES)
    assert {one.test_ref for one in found.examples} == {"tested/1.png"}


def test_first_of_several_test_images_is_told(store, tmp_path, painted):
    learned = [painted.add("learned/0.png", saved_anew(photograph(100)), RED)]
    tested = [painted.add(f"tested/{n}.png", pixels, RED) for n, pixels in enumerate(crowd_of_two())]
    found = search(store, tmp_path, painted, learned, tested)
    assert [(one.learned_ref, one.test_ref) for one in found.examples] == [("learned/0.png", "tested/0.png")]


def crowd_of_two():
    return photograph(100), np.clip(photograph(100).astype(np.int16) + 3, 0, 255).astype(np.uint8)


def ingested(store, name, painted, entries, tested=()):
    """Keep thumbnails as ingest does, under any key."""
    key = StageKey(stage="ingest", version="3", inputs={"name": name}, config={})
    with store.create(key) as folder:
        write_index(folder / IMAGES_FILE, entries)
        if tested:
            write_index(folder / TEST_IMAGES_FILE, tested)
        images = [decode_rgb((painted.root / entry.source_ref).read_bytes()) for entry in (*entries, *tested)]
        np.save(folder / THUMBNAILS_FILE, np.stack([thumbnail(image) for image in images]), allow_pickle=False)
    return store.entry_path(key)


def test_thumbnails_of_ingest_are_taken(store, tmp_path, painted):
    learned = [painted.add("learned/0.png", saved_anew(photograph(100)), RED)]
    learned += [painted.add(f"learned/{n}.png", photograph(n), RED) for n in (1, 2)]
    tested = [painted.add(f"tested/{n}.png", photograph(100 + n), RED) for n in range(3)]
    ingested(store, "one", painted, learned[:2])
    ingested(store, "two", painted, learned[2:], tested)
    for path in painted.root.rglob("*.png"):
        path.unlink()
    found = search(store, tmp_path, painted, learned, tested)
    assert [(one.learned_ref, one.test_ref) for one in found.examples] == [("learned/0.png", "tested/0.png")]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda entry: (entry / THUMBNAILS_FILE).write_bytes(b"no array"), id="no array"),
        pytest.param(lambda entry: np.save(entry / THUMBNAILS_FILE, np.zeros((2, 32, 32), np.uint8)), id="small"),
        pytest.param(lambda entry: np.save(entry / THUMBNAILS_FILE, np.zeros((2, 64, 64))), id="floats"),
        pytest.param(lambda entry: (entry / IMAGES_FILE).write_text('{"source_ref": 1}\n'), id="other fields"),
        pytest.param(lambda entry: (entry / THUMBNAILS_FILE).unlink(), id="no file"),
    ],
)
def test_other_entries_of_ingest_are_passed_over(store, tmp_path, painted, harm):
    learned = [painted.add("learned/0.png", saved_anew(photograph(100)), RED)]
    tested = [painted.add("tested/0.png", photograph(100), RED)]
    entry = ingested(store, "one", painted, [*learned, *tested])
    harm(entry)
    (entry / "_complete.json").write_text("{}")
    assert search(store, tmp_path, painted, learned, tested).near_duplicates == 1


def test_missing_image_is_told(store, tmp_path, painted):
    learned = [painted.add("learned/0.png", photograph(1), RED)]
    tested = [painted.add("tested/0.png", photograph(100), RED)]
    (painted.root / "learned/0.png").unlink()
    with pytest.raises(SourceChanged, match="is gone"):
        search(store, tmp_path, painted, learned, tested)
    assert store.entries_of(OVERLAP_STAGE) == []


def test_search_is_made_once_for_the_same_images(store, tmp_path, painted):
    learned = [painted.add(f"learned/{n}.png", photograph(n), RED) for n in range(2)]
    tested = [painted.add("tested/0.png", photograph(0), RED)]
    first = search(store, tmp_path, painted, learned, tested)
    again = search(store, tmp_path, painted, learned, tested)
    assert (first.copies, first.reused, again.reused) == (1, False, True)
    more = search(store, tmp_path, painted, learned, tested, [tested[0]])
    assert (more.copies, more.reused) == (2, False)
