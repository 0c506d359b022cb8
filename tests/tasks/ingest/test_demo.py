from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from tasks.errors import RequestError
from tasks.ingest.demo import (
    CONFLICT,
    DUPLICATE,
    EMPTY,
    EXTRA_FILES,
    JPEG,
    TEXT,
    TINY,
    TRUNCATED,
    DemoOptions,
    paint_demo,
    parse_demo_source,
)
from tasks.ingest.painting.canvas import SIDE
from tasks.ingest.painting.transistor import GOOD, LABELS

EXTRA_PATHS = {extra.path for extra in EXTRA_FILES}


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def sound_images(folder: Path) -> list[Path]:
    found = sorted(folder.glob("train/*/*")) + sorted(folder.glob("test/*/*"))
    return [p for p in found if p.relative_to(folder).as_posix() not in EXTRA_PATHS]


@pytest.fixture(scope="module")
def full_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "full"
    paint_demo(folder, parse_demo_source("demo://transistors"))
    return folder


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "small"
    paint_demo(folder, DemoOptions(images=23, seed=7))
    return folder


@pytest.fixture(scope="module")
def pictures(full_set: Path) -> tuple[np.ndarray, np.ndarray]:
    paths = sound_images(full_set)
    return np.stack([cv2.imread(str(p)) for p in paths]), np.array([p.parent.name for p in paths])


# --- the source string ---


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("demo://transistors", DemoOptions(150, 7)),
        ("demo://transistors/", DemoOptions(150, 7)),
        ("demo://transistors?", DemoOptions(150, 7)),
        ("demo://transistors?images=20", DemoOptions(20, 7)),
        ("demo://transistors?seed=0&images=5000", DemoOptions(5000, 0)),
        ("demo://transistors?images=150&seed=2147483647", DemoOptions(150, 2**31 - 1)),
    ],
)
def test_a_good_source_string_gives_its_options(source: str, options: DemoOptions):
    assert parse_demo_source(source) == options


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "demo://transistors"),
        ("transistors", "demo://transistors"),
        ("s3://transistors?images=150", "demo://transistors"),
        ("demo://", "demo://transistors"),
        ("demo://resistors?images=150", "resistors"),
        ("demo://transistors/more", "demo://transistors"),
        ("demo://transistors#part", "demo://transistors"),
        ("demo://[transistors", "demo://transistors"),
        ("demo://transistors?images", "demo://transistors"),
        ("demo://transistors?colour=red", "colour"),
        ("demo://transistors?images=", "images"),
        ("demo://transistors?images=many", "from 20 to 5000"),
        ("demo://transistors?images=19", "from 20 to 5000"),
        ("demo://transistors?images=5001", "from 20 to 5000"),
        ("demo://transistors?images=1_50", "from 20 to 5000"),
        ("demo://transistors?images=+150", "from 20 to 5000"),
        ("demo://transistors?images=150.0", "from 20 to 5000"),
        ("demo://transistors?images=" + "9" * 5000, "from 20 to 5000"),
        ("demo://transistors?images=٣٠", "from 20 to 5000"),
        ("demo://transistors?images=50&images=60", "twice"),
        ("demo://transistors?seed=-1", "from 0 to 2147483647"),
        ("demo://transistors?seed=2147483648", "from 0 to 2147483647"),
    ],
)
def test_a_bad_source_string_is_refused_with_a_way_out(source: str, says: str):
    with pytest.raises(RequestError) as caught:
        parse_demo_source(source)
    assert says in str(caught.value)


# --- the files ---


def test_the_same_options_give_the_same_bytes(small_set: Path, tmp_path: Path):
    paint_demo(tmp_path, DemoOptions(images=23, seed=7))
    assert files_of(tmp_path) == files_of(small_set)


def test_another_seed_gives_other_pictures(small_set: Path, tmp_path: Path):
    paint_demo(tmp_path, DemoOptions(images=23, seed=8))
    ours, theirs = files_of(small_set), files_of(tmp_path)
    assert ours.keys() == theirs.keys()
    same = {path for path in ours if ours[path] == theirs[path]}
    assert same == {EMPTY.path, TEXT.path, TINY.path}


def test_a_smaller_set_is_a_part_of_a_larger_one(small_set: Path, full_set: Path):
    small, full = files_of(small_set), files_of(full_set)
    assert len(small) < len(full)
    assert {path: full[path] for path in small} == small


def test_the_classes_have_equal_counts(full_set: Path):
    found = Counter(p.parent.relative_to(full_set).as_posix() for p in sound_images(full_set))
    defects = {f"test/{label}": 30 for label in LABELS if label != GOOD}
    assert found == {"train/good": 15, "test/good": 15, **defects}


def test_a_set_that_does_not_divide_evenly_differs_by_one_at_most(small_set: Path):
    found = Counter(p.parent.name for p in sound_images(small_set))
    assert sum(found.values()) == 23
    assert sorted(found.values()) == [4, 4, 5, 5, 5]
    assert set(found) == set(LABELS)


def test_every_picture_is_a_square_colour_png(full_set: Path):
    for path in sound_images(full_set):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (SIDE, SIDE))


# --- the masks ---


def test_every_defect_has_a_mask_and_nothing_else_has(full_set: Path):
    masks = {(p.parent.name, p.name) for p in full_set.glob("ground_truth/*/*")}
    defects = [p for p in sound_images(full_set) if p.parent.name != GOOD]
    assert masks == {(p.parent.name, f"{p.stem}_mask.png") for p in defects}


def test_masks_fit_their_pictures_and_mark_something(full_set: Path):
    smallest = {"bent_lead": 600, "cut_lead": 500, "damaged_case": 900, "misplaced": 15_000}  # px
    for path in sorted(full_set.glob("ground_truth/*/*")):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.dtype == np.uint8
        assert mask.shape == (SIDE, SIDE)
        assert set(np.unique(mask)) == {0, 255}
        marked = np.count_nonzero(mask)
        assert smallest[path.parent.name] < marked < 0.5 * mask.size, path


def test_masks_lie_on_what_they_mark(full_set: Path):
    """A misplaced part is darker than its board; a bent lead is brighter than what is around it."""
    for label, sign in (("misplaced", -1), ("bent_lead", 1)):
        for path in sorted(full_set.glob(f"ground_truth/{label}/*")):
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
            name = path.name.replace("_mask", "")
            grey = cv2.imread(str(full_set / "test" / label / name), cv2.IMREAD_GRAYSCALE)
            near = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
            difference = np.median(grey[mask]) - np.median(grey[near & ~mask])
            assert sign * difference > 0, path


# --- the extra files ---


@pytest.mark.parametrize("folder", ["full_set", "small_set"])
def test_the_extra_files_are_what_they_promise(folder: str, request: pytest.FixtureRequest):
    root: Path = request.getfixturevalue(folder)
    assert (root / EMPTY.path).stat().st_size == 0
    assert (root / TEXT.path).read_text(encoding="utf-8").isascii()
    with Image.open(root / TRUNCATED.path) as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with Image.open(root / TINY.path) as image:
        assert image.size == (8, 8)
    with Image.open(root / JPEG.path) as image:
        assert (image.format, image.size) == ("JPEG", (SIDE, SIDE))


def test_only_the_promised_files_are_copies(full_set: Path):
    by_content: dict[bytes, set[str]] = {}
    for path, content in files_of(full_set).items():
        by_content.setdefault(content, set()).add(path)
    repeated = [paths for paths in by_content.values() if len(paths) > 1]
    promised = [{extra.path, extra.same_as} for extra in (DUPLICATE, CONFLICT)]
    assert sorted(map(sorted, repeated)) == sorted(map(sorted, promised))


def test_one_copy_keeps_its_label_and_one_contradicts_it():
    """The contradiction puts both the copy and its original in doubt."""
    assert Path(DUPLICATE.path).parent.name == Path(DUPLICATE.same_as).parent.name
    assert Path(CONFLICT.path).parent.name != Path(CONFLICT.same_as).parent.name


def test_broken_files_stay_few_even_in_the_smallest_set():
    broken = sum(not extra.decodes for extra in EXTRA_FILES)
    assert broken / (20 + len(EXTRA_FILES)) < 0.16


# --- what tells the class, and what does not ---


def joint_histogram(image: np.ndarray) -> np.ndarray:
    counts = cv2.calcHist([image], [0, 1, 2], None, [8] * 3, [0, 256] * 3).ravel()
    return counts / counts.sum()


def channel_histograms(image: np.ndarray) -> np.ndarray:
    counts = [np.bincount(image[..., c].ravel() >> 3, minlength=32) for c in range(3)]
    return np.concatenate(counts) / image.size


def cross_validated_f1(head: object, features: np.ndarray, labels: np.ndarray) -> float:
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    guess = cross_val_predict(make_pipeline(StandardScaler(), head), features, labels, cv=folds)
    return float(f1_score(labels, guess, average="macro"))


@pytest.mark.parametrize("histogram", [joint_histogram, channel_histograms])
def test_colours_do_not_tell_the_class(histogram, pictures: tuple[np.ndarray, np.ndarray]):
    images, labels = pictures
    features = np.stack([histogram(image) for image in images])
    heads = [
        LogisticRegression(max_iter=2000, class_weight="balanced"),
        LinearSVC(max_iter=20_000, random_state=0),
    ]
    assert max(cross_validated_f1(head, features, labels) for head in heads) < 0.7


def test_light_and_board_do_not_tell_the_class(pictures: tuple[np.ndarray, np.ndarray]):
    images, labels = pictures
    board = images[:, -24:, :].astype(np.float32)  # the lowest rows show hardly anything else
    colour = board.mean(axis=(1, 2))
    falloff = board[:, :, SIDE // 2 :].mean(axis=(1, 2, 3)) - board[:, :, : SIDE // 2].mean(axis=(1, 2, 3))
    features = np.column_stack([images.mean(axis=(1, 2, 3)), colour, falloff])
    head = LogisticRegression(max_iter=2000, class_weight="balanced")
    assert cross_validated_f1(head, features, labels) < 0.45
    assert images.mean(axis=(1, 2, 3)).std() > 5  # grey levels: the light does vary
