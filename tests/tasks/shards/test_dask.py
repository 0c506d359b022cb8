"""Shards on a real cluster: the same bytes as here, nothing lost and nothing twice when a worker is killed."""

import hashlib
import shutil
import signal
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("distributed", reason="keeneye[dask] is not installed")

from flows.config import DataConfig, ShardsConfig
from tasks.bundle.preprocessing import standard_steps
from tasks.dataset.entries import read_index
from tasks.errors import DataError, EnvironmentFailed
from tasks.features.feature_set import FeatureSet, Hog, LocalBinaryPatterns
from tasks.features.keypoints import SiftWords
from tasks.ingest import read as ingest_read
from tasks.ingest.task import ingest_images
from tasks.predict.shards import SHARD_STAGE
from tasks.shards import dask_runner
from tasks.shards.dask_runner import DaskRunner
from tasks.shards.runner import open_runner, shards_of
from tasks.stores.content import ContentStore
from tasks.stores.home import Home
from tasks.train import feature_cache
from tasks.train.embed import embedding_cache
from tasks.train.engineered import descriptor_cache, engineered_cache
from tasks.train.task import train_model
from tests.conftest import INPUT_SIZE, reap
from tests.dask_cluster import running_cluster, start_worker
from tests.tasks.predict.predicting import RGB, fetched, paint, run, write_colour_classifier
from tests.tasks.shards.works import fail_unsendably, kill_yourself, refuse, sleep, who

DYING = str(Path(__file__).with_name("dying_worker.py"))
IMAGES, SHARD_SIZE = 40, 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("dask")) as running:
        yield running


@pytest.fixture(scope="module")
def on_cluster(cluster):
    return ShardsConfig(runner="dask", address=cluster.address)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of four colours, two files that are none, and a copy."""
    folder = tmp_path_factory.mktemp("source") / "photos"
    colours = list(RGB)
    for number in range(IMAGES):
        paint(folder / colours[number % 4] / f"{number:02}.png", colours[number % 4], number, height=40)
    (folder / "red" / "broken.png").write_bytes(b"no image")
    (folder / "red" / "empty.png").write_bytes(b"")
    shutil.copyfile(folder / "red" / "00.png", folder / "red" / "copy.png")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return fetched(write_colour_classifier(tmp_path_factory.mktemp("bundle") / "bundle"))


def fresh(folder: Path) -> Home:
    return Home(folder, "sqlite:///unused.db", "sqlite:///unused.db")


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def digests_below(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in bytes_below(folder).items()}


RUNNERS = {"two threads": ShardsConfig(threads=2), "one thread": ShardsConfig(threads=1), "cluster": None}


def test_checking_gives_the_same_bytes(on_cluster, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ingest_read, "SHARD_IMAGES", 7)
    found = {}
    for name, shards in RUNNERS.items():
        home = fresh(tmp_path / name)
        record = ingest_images.fn(home, DataConfig(source=str(photos)), shards or on_cluster)
        assert (record.usable, record.invalid) == (IMAGES, 2)
        assert len(home.store.entries_of("check-shard")) == 7
        found[name] = digests_below(home.store.root / "entries")
    assert found["cluster"] == found["two threads"] == found["one thread"]


def test_prediction_gives_the_same_bytes(on_cluster, photos, model, tmp_path) -> None:
    found = {}
    for name, shards in RUNNERS.items():
        options = {"shard_size": SHARD_SIZE, "manifest": True, "shards": shards or on_cluster}
        home = fresh(tmp_path / name)
        run(home, model, photos, tmp_path / "out", **options)
        found[name] = digests_below(tmp_path / "out") | digests_below(home.store.root / "entries" / SHARD_STAGE)
        shutil.rmtree(tmp_path / "out")
    assert len(found["cluster"]) > 40
    assert found["cluster"] == found["two threads"] == found["one thread"]


def test_features_are_the_same_to_the_last_bit(
    on_cluster, photos, backbone, shared_home, tmp_path, monkeypatch
) -> None:
    """Of the network, several blocks of engineered features, and descriptors; shards in which some are known."""
    monkeypatch.setattr(feature_cache, "SHARD_IMAGES", 7)
    record = ingest_images.fn(fresh(tmp_path / "home"), DataConfig(source=str(photos)))
    entries, root = list(read_index(Path(record.entry_path) / "images.jsonl")), Path(record.root)
    steps, ignore = standard_steps(INPUT_SIZE), lambda done, total: None
    found = {}
    for name, shards in RUNNERS.items():
        store = ContentStore(tmp_path / name)
        with open_runner(store.root, shards or on_cluster) as runner:
            make = partial(engineered_cache, store, steps=steps, runner=runner)
            make(FeatureSet((Hog(),))).rows(root, entries[:10], ignore)
            caches = (
                embedding_cache(store, backbone, steps, runner=runner),
                make(FeatureSet((Hog(), LocalBinaryPatterns()))),
                descriptor_cache(store, SiftWords(), steps, runner=runner),
            )
            rows = [block for cache in caches for block in cache.rows(root, entries, ignore)]
        assert caches[0].computed == IMAGES
        found[name] = [np.stack(block).tobytes() for block in rows]
    assert len(found["cluster"]) == 4
    assert found["cluster"] == found["two threads"] == found["one thread"]


def test_a_model_that_is_trained_is_the_same(on_cluster, trained, exported_home, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_IMAGES", 9)
    shutil.copytree(exported_home.root, tmp_path / "home")
    home = fresh(tmp_path / "home")
    config = trained.config(shards=on_cluster)
    model = train_model.fn(home, trained.manifest, config)
    assert not model.reused
    assert model.bundle_digest == trained.model.bundle_digest
    assert len(list((home.store.root / "entries").glob("embedding-*/*"))) > 2
    assert train_model.fn(home, trained.manifest, trained.config()).reused


def test_killed_worker_loses_no_shard_and_does_none_twice(photos, model, tmp_path) -> None:
    kept = tmp_path / "kept"
    environment = {"KEPT": str(kept), "DEATH": str(tmp_path / "death")}
    home, options = fresh(tmp_path / "home"), {"shard_size": SHARD_SIZE, "manifest": True}
    with running_cluster(tmp_path, preload=DYING, **environment) as cluster:
        shards = ShardsConfig(runner="dask", address=cluster.address)
        _, predicted, written = run(home, model, photos, tmp_path / "out", **options, shards=shards)
        ended = [worker for worker in cluster.workers if worker.poll() is not None]
        assert [worker.returncode for worker in ended] == [-signal.SIGKILL]
    assert (predicted.predicted, predicted.images, predicted.shards) == (IMAGES + 1, IMAGES + 3, 11)
    notes = kept.read_text().split()
    assert notes.index("died") < len(notes) - 3, "it died in the middle"
    times = Counter(note for note in notes if note.startswith(SHARD_STAGE))
    assert len(times) == 11
    assert set(times.values()) == {1}
    # What it was at lies there unfinished; this machine's next run sweeps it.
    (left,) = (home.store.root / "unfinished").iterdir()
    assert list(left.iterdir())
    assert home.store.sweep() == [left.name]

    run(fresh(tmp_path / "whole"), model, photos, tmp_path / "expected", **options)
    assert bytes_below(tmp_path / "out") == bytes_below(tmp_path / "expected")
    assert written.files


@pytest.mark.slow
def test_run_that_lost_all_workers_goes_on_with_a_new_one(photos, model, tmp_path, monkeypatch) -> None:
    """The only worker dies; nobody comes, the run ends in a sentence; with a worker it goes on where it was."""
    monkeypatch.setattr(dask_runner, "WORKER_SECONDS", 1.0)
    environment = {"KEPT": str(tmp_path / "kept"), "DEATH": str(tmp_path / "death")}
    home = fresh(tmp_path / "home")
    with running_cluster(tmp_path, workers=1, preload=DYING, **environment) as cluster:
        options = {"shard_size": SHARD_SIZE, "shards": ShardsConfig(runner="dask", address=cluster.address)}
        with pytest.raises(EnvironmentFailed, match=r"has had no worker for 1 s; start one with `dask worker tcp://"):
            run(home, model, photos, tmp_path / "out", **options)
        assert len(home.store.entries_of(SHARD_STAGE)) == 1
        worker = start_worker(tmp_path, cluster.address, "another")
        try:
            _, predicted, _ = run(home, model, photos, tmp_path / "out", **options)
        finally:
            reap(worker)
    assert (predicted.shards, predicted.shards_reused) == (11, 1)


@pytest.mark.slow
def test_shard_that_ends_every_worker_ends_the_run(tmp_path) -> None:
    with (
        running_cluster(tmp_path, workers=3, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1") as cluster,
        open_runner(tmp_path, ShardsConfig(runner="dask", address=cluster.address)) as runner,
        pytest.raises(EnvironmentFailed, match="ended 2 Dask workers one after another") as ended,
    ):
        list(runner.map(kill_yourself, [[1]], lambda _: None))
    assert "\n" not in ended.value.message


@pytest.mark.slow
def test_scheduler_that_goes_away_is_told_in_a_sentence(tmp_path) -> None:
    with (
        running_cluster(tmp_path) as cluster,
        open_runner(tmp_path, ShardsConfig(runner="dask", address=cluster.address)) as runner,
    ):
        timer = threading.Timer(1.0, cluster.scheduler.kill)
        timer.start()
        with pytest.raises(EnvironmentFailed, match=f"Dask scheduler {cluster.address} went away"):
            list(runner.map(sleep, [[1]] * 1000, lambda _: None))
        timer.join()


def test_errors_of_the_work_itself_come_back_as_they_are(cluster, tmp_path) -> None:
    runner = DaskRunner(cluster.address, tmp_path)
    with pytest.raises(DataError, match="no such colour") as refused:
        list(runner.map(refuse, [[1]], lambda _: None))
    assert refused.value.findings_path == "/there"
    runner.close()


def test_error_that_cannot_be_sent_is_told_all_the_same(cluster, tmp_path) -> None:
    runner = DaskRunner(cluster.address, tmp_path)
    with pytest.raises(RuntimeError, match="Unsendable: too deep") as failed:
        list(runner.map(fail_unsendably, [[1]], lambda _: None))
    assert "in fail_unsendably" in failed.value.__notes__[0]
    runner.close()


def test_cluster_carries_out_shards_in_order_one_thread_each(cluster, tmp_path) -> None:
    told: list[int] = []
    with open_runner(tmp_path, ShardsConfig(runner="dask", address=cluster.address)) as runner:
        shards = list(shards_of(range(100), 3))
        found = list(runner.map(who, shards, told.append))
    assert [shard for shard, *_ in found] == shards
    assert {threads for _, threads, _ in found} == {1}
    assert {process for *_, process in found} == {worker.pid for worker in cluster.workers}
    assert sum(told) == 100


def test_worker_without_the_folder_is_told_in_a_sentence(cluster, tmp_path, monkeypatch) -> None:
    own = dask_runner.own_likeness
    monkeypatch.setattr(dask_runner, "own_likeness", lambda mark: own(Path("/no/such/folder/shared/mark")))
    runner = DaskRunner(cluster.address, tmp_path)
    with pytest.raises(EnvironmentFailed, match=r"does not see /no/such/folder; mount the folder of KEENEYE_HOME"):
        list(runner.map(who, [[1]], lambda _: None))
    runner.close()


def test_nobody_at_the_address_is_told_in_a_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dask_runner, "CONNECT_SECONDS", 1.0)
    with pytest.raises(EnvironmentFailed, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 ") as refused:
        list(DaskRunner("tcp://127.0.0.1:1", tmp_path).map(who, [[1]], lambda _: None))
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 400
