"""An anomaly model whose training is killed goes on where it was; on painted parts, with a real store."""

import shutil

import pytest

from flows.config import AnomalyConfig, DataConfig, MaskConfig, TrainConfig, TrainingConfig
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tasks.train.anomaly import embed, learn
from tasks.train.task import train_model
from tests.conftest import INPUT_SIZE
from tests.makers import paint_mvtec

IMAGES = 12


@pytest.fixture(scope="module")
def teach(shared_home: Home, tmp_path_factory):
    """Train on painted parts; returns the record, and gives the seed its own model."""
    root = paint_mvtec(tmp_path_factory.mktemp("normal") / "normal", ("ring",), IMAGES, 4, 2, side=INPUT_SIZE)
    data = DataConfig(source=str(root), split="given", near_duplicates=False)
    manifest = build_manifest.fn(shared_home, ingest_images.fn(shared_home, data), data, MaskConfig(), "anomaly")

    def run(home: Home):
        training = TrainingConfig(input_size=INPUT_SIZE, anomaly=AnomalyConfig(memory_patches=20))
        return train_model.fn(home, manifest, TrainConfig(task="anomaly", data=data, training=training))

    return run


@pytest.fixture
def seen(monkeypatch):
    """The images that went through the network, shard by shard, and how often a memory was chosen."""
    calls = {"images": 0, "memories": 0}
    patches_of, choose = embed.patches_of, learn.choose_memory

    def counted(network, root, entries, steps):
        calls["images"] += len(entries)
        return patches_of(network, root, entries, steps)

    def chosen(*arguments):
        calls["memories"] += 1
        return choose(*arguments)

    monkeypatch.setattr(embed, "SHARD_IMAGES", 5)
    monkeypatch.setattr(embed, "patches_of", counted)
    monkeypatch.setattr(learn, "patches_of", counted)
    monkeypatch.setattr(learn, "choose_memory", chosen)
    return calls


def die_at(call, module, name):
    """Let a function of a module raise at its so-many-th call; returns what undoes it."""
    whole, calls = getattr(module, name), []

    def until_then(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return whole(*arguments)

    patch = pytest.MonkeyPatch()
    patch.setattr(module, name, until_then)
    return patch


def test_a_killed_training_repeats_no_finished_part_and_ends_as_if_it_was_not(teach, seen, shared_home):
    # In the third shard of images, then in the third memory of four.
    for module, name in ((embed, "patches_of"), (learn, "memory_to_onnx")):
        patch = die_at(3, module, name)
        with pytest.raises(KeyboardInterrupt):
            teach(shared_home)
        patch.undo()
    assert len(list(shared_home.work_path.glob("*/entries/part/*"))) == 3 + 1 + 2
    before = dict(seen)
    model = teach(shared_home)
    # Two folds were left, of three images each, and the validation images.
    assert seen["memories"] - before["memories"] == 2
    assert seen["images"] - before["images"] < IMAGES
    assert not list(shared_home.work_path.glob("*/entries/part"))
    shutil.rmtree(model.entry_path)
    before = dict(seen)
    whole = teach(shared_home)
    assert seen["memories"] - before["memories"] == 1 + learn.FOLDS
    assert (whole.reused, whole.bundle_digest, whole.chosen) == (False, model.bundle_digest, model.chosen)
