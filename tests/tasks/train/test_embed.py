import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.bundle.adjustments import Crop, Grey
from tasks.bundle.predictor import OnnxNetwork
from tasks.bundle.preprocessing import Normalise, Steps, frame, prepare_batch, standard_steps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import SourceChanged
from tasks.stores.content import ContentStore
from tasks.train import feature_cache
from tasks.train.backbone import FEATURE_WIDTHS
from tasks.train.embed import embedding_cache
from tasks.train.views import VIEWS
from tasks.vision.images import decode_rgb
from tests.makers import SHAPES, paint_shape, png_bytes
from tests.tasks.conftest import INPUT_SIZE

STEPS = standard_steps(INPUT_SIZE)
ADJUSTED = standard_steps(INPUT_SIZE, [Crop(left=0.25, width=0.5), Grey()])


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "store")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("steps", [STEPS, ADJUSTED], ids=["plain", "adjusted"])
def test_rows_are_those_of_the_network(steps: Steps, store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(20))
    found = embedding_cache(store, backbone, steps).features(root, entries, _ignore)
    pictures = [decode_rgb((root / entry.source_ref).read_bytes()) for entry in entries]
    direct = OnnxNetwork(backbone.read_bytes()).run(prepare_batch(pictures, steps))
    np.testing.assert_allclose(found, direct[:, None], atol=1e-4)


def test_views_follow_the_image(store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(9))
    found = embedding_cache(store, backbone, STEPS, VIEWS).features(root, entries, _ignore)
    network = OnnxNetwork(backbone.read_bytes())
    for row, entry in zip(found, entries, strict=True):
        framed = frame(decode_rgb((root / entry.source_ref).read_bytes()), STEPS)
        seen = np.stack([framed, *(view.apply(framed) for view in VIEWS)])
        np.testing.assert_allclose(row, network.run(STEPS[-1].apply_to_batch(seen)), atol=1e-3)


def test_with_and_without_views_share_nothing(store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(3))
    embedding_cache(store, backbone, STEPS).features(root, entries, _ignore)
    assert embedding_cache(store, backbone, STEPS, VIEWS).features(root, entries, _ignore).shape[:2] == (3, 4)


def test_second_call_computes_nothing(store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(9))
    first, second = (embedding_cache(store, backbone, STEPS) for _ in range(2))
    rows = first.features(root, entries, _ignore)
    np.testing.assert_array_equal(second.features(root, entries, _ignore), rows)
    assert (first.computed, second.computed) == (9, 0)


def test_rows_follow_the_order_of_the_entries(store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(6))
    cache = embedding_cache(store, backbone, STEPS)
    rows = cache.features(root, entries, _ignore)
    np.testing.assert_array_equal(cache.features(root, entries[::-1], _ignore), rows[::-1])
    np.testing.assert_array_equal(cache.features(root, entries[2:4], _ignore), rows[2:4])


def test_only_added_images_are_computed(store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(8))
    embedding_cache(store, backbone, STEPS).features(root, entries[:5], _ignore)
    cache = embedding_cache(store, backbone, STEPS)
    cache.features(root, entries, _ignore)
    assert cache.computed == 3


def test_equal_files_are_computed_once(store: ContentStore, backbone: Path, root: Path) -> None:
    (entry,) = _paint(root, [0])
    (root / "copy.png").write_bytes((root / entry.source_ref).read_bytes())
    copy = ImageEntry("copy.png", entry.sha256, 48, 48, entry.truth)
    cache = embedding_cache(store, backbone, STEPS)
    rows = cache.features(root, [entry, copy, entry], _ignore)
    assert cache.computed == 1
    assert rows.shape == (3, 1, sum(FEATURE_WIDTHS.values()))
    np.testing.assert_array_equal(rows[0], rows[1])


def test_known_images_are_not_read_again(store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(3))
    rows = embedding_cache(store, backbone, STEPS).features(root, entries, _ignore)
    for entry in entries:
        (root / entry.source_ref).unlink()
    np.testing.assert_array_equal(embedding_cache(store, backbone, STEPS).features(root, entries, _ignore), rows)


@pytest.mark.parametrize("other", ["mean", "adjustment", "backbone"])
def test_other_preprocessing_or_backbone_shares_no_rows(
    other: str, store: ContentStore, backbone: Path, root: Path, tmp_path: Path
) -> None:
    entries = _paint(root, range(3))
    rows = embedding_cache(store, backbone, STEPS).features(root, entries, _ignore)
    steps, network = STEPS, backbone
    if other == "mean":
        steps = (STEPS[0], Normalise(mean=(0.0, 0.0, 0.0)))
    elif other == "adjustment":
        steps = ADJUSTED
    else:
        # A field of the format that readers pass over: another file, the same network.
        network = tmp_path / "backbone.onnx"
        network.write_bytes(backbone.read_bytes() + b"\x32\x01x")
    cache = embedding_cache(store, network, steps)
    changed = cache.features(root, entries, _ignore)
    assert cache.computed == 3
    assert np.array_equal(changed, rows) == (other == "backbone")


def test_other_input_size_shares_no_rows(store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(3))
    embedding_cache(store, backbone, STEPS).features(root, entries, _ignore)
    other = embedding_cache(store, backbone, standard_steps(INPUT_SIZE + 32))
    # The exported graph takes one size only; that it is asked at all shows that no row was shared.
    with pytest.raises(Exception, match=r"(?i)dimension"):
        other.features(root, entries, _ignore)
    assert other.computed == 0


@pytest.mark.parametrize("change", ["bytes", "gone", "outside"])
def test_changed_source_is_refused(change: str, store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(3))
    victim = root / entries[1].source_ref
    if change == "bytes":
        victim.write_bytes(png_bytes(paint_shape("ring", 48, (99,))))
    elif change == "gone":
        victim.unlink()
    else:
        entries[1] = ImageEntry("../outside.png", entries[1].sha256, 48, 48, entries[1].truth)
        victim.rename(root.parent / "outside.png")
    cache = embedding_cache(store, backbone, STEPS)
    with pytest.raises(SourceChanged):
        cache.features(root, entries, _ignore)
    assert cache.computed == 0


def test_killed_embedding_keeps_its_finished_shards(
    store: ContentStore, backbone: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_IMAGES", 4)
    entries = _paint(root, range(10))

    def kill(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedding_cache(store, backbone, STEPS).features(root, entries, kill)
    cache = embedding_cache(store, backbone, STEPS)
    cache.features(root, entries, _ignore)
    assert cache.computed == 6


def test_damaged_shard_is_computed_again(store: ContentStore, backbone: Path, root: Path) -> None:
    entries = _paint(root, range(4))
    rows = embedding_cache(store, backbone, STEPS).features(root, entries, _ignore)
    (shard,) = store.root.rglob("features.npy")
    shard.write_bytes(shard.read_bytes()[:-100])
    cache = embedding_cache(store, backbone, STEPS)
    np.testing.assert_array_equal(cache.features(root, entries, _ignore), rows)
    assert cache.computed == 4


def test_progress_rises_to_the_total(
    store: ContentStore, backbone: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_IMAGES", 3)
    entries = _paint(root, range(7))
    embedding_cache(store, backbone, STEPS).features(root, entries[:2], _ignore)
    told: list[tuple[int, int]] = []
    embedding_cache(store, backbone, STEPS).features(root, entries, lambda done, total: told.append((done, total)))
    assert told == [(2, 7), (5, 7), (7, 7)]


def _ignore(done: int, total: int) -> None:
    pass


def _paint(root: Path, numbers: object) -> list[ImageEntry]:
    entries = []
    for number in numbers:
        data = png_bytes(_pixels(number))
        name = f"{number:03}.png"
        (root / name).write_bytes(data)
        entries.append(ImageEntry(name, hashlib.sha256(data).hexdigest(), 48, 48, Truth(labels=("a",)), group=name))
    return entries


def _pixels(number: int) -> NDArray[np.uint8]:
    return paint_shape(SHAPES[number % len(SHAPES)], 48, (number,))
