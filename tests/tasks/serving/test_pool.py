import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from tasks.bundle.predictor import Predictor
from tasks.errors import BundleError
from tasks.serving import pool as pool_module
from tasks.serving.batching import BatchCounts, Batcher
from tasks.serving.errors import ModelUnavailable, ServiceStopping
from tasks.serving.pool import LoadedModel, ModelPool
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, VersionInfo
from tests.tasks.serving.made_classifier import write_classifier

NAMES = ("a", "b", "c")


def info(name, version="1"):
    return VersionInfo(name, version, "run", {BUNDLE_DIGEST_TAG: f"digest of {name} {version}"}, ())


class Loader:
    """Loads the same real bundle for every name, once the gate is open; what it is told to refuse, it refuses."""

    def __init__(self, bundle):
        self.bundle = bundle
        self.begun = []
        self.loaded = []
        self.refused = set()
        self.gate = Event()
        self.gate.set()

    def __call__(self, info):
        self.begun.append(info.name)
        assert self.gate.wait(10)
        self.loaded.append(info.name)
        if info.name in self.refused:
            raise BundleError("the bundle is damaged")
        predictor = Predictor.open(self.bundle)
        return LoadedModel(info, predictor, Batcher(predictor, BatchCounts(), 1))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("bundle"), ("red", "green", "blue"))


@pytest.fixture
def loader(bundle):
    return Loader(bundle)


@pytest.fixture
def make_pool(loader):
    pools = []

    def make(max_models=2, idle_seconds=60.0):
        pools.append(ModelPool(loader, max_models=max_models, idle_seconds=idle_seconds))
        return pools[-1]

    yield make
    loader.gate.set()
    for pool in pools:
        pool.close()


def use(pool, name, version="1"):
    with pool.lease(info(name, version)) as loading:
        return loading.result(10)


def names(pool):
    return sorted(one.name for one in pool.loaded())


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_model_is_loaded_once_however_many_ask(make_pool, loader):
    pool = make_pool()
    loader.gate.clear()
    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(use, pool, "a") for _ in range(16)]
        loader.gate.set()
        models = {id(one.result(10)) for one in asked}
    assert len(models) == 1
    assert loader.loaded == ["a"]
    assert pool.loads == 1


def test_bundle_that_was_registered_again_is_another_one(make_pool, loader):
    pool = make_pool()
    use(pool, "a")
    again = VersionInfo("a", "1", "run", {BUNDLE_DIGEST_TAG: "another"}, ())
    with pool.lease(again) as loading:
        assert loading.result(10).info is again
    assert loader.loaded == ["a", "a"]


def test_least_recently_used_gives_way(make_pool, loader):
    pool = make_pool(max_models=2)
    for name in ("a", "b", "a", "c"):
        use(pool, name)
    assert names(pool) == ["a", "c"]
    use(pool, "b")
    assert names(pool) == ["b", "c"]
    assert loader.loaded == ["a", "b", "c", "b"]


def test_leased_model_is_never_closed(make_pool):
    pool = make_pool(max_models=2)
    with pool.lease(info("a")) as loading:
        held = loading.result(10)
        for name in ("b", "c", "b", "c"):
            use(pool, name)
            assert "a" in names(pool)
        _require_open(held)
    use(pool, "b")
    use(pool, "c")
    assert names(pool) == ["b", "c"]
    with pytest.raises(ServiceStopping):
        _require_open(held)


def test_load_waits_for_a_place(make_pool, loader):
    pool = make_pool(max_models=1)
    with ThreadPoolExecutor(1) as threads:
        with pool.lease(info("a")) as loading:
            loading.result(10)
            asked = threads.submit(use, pool, "b")
            use(pool, "a")
            with pytest.raises(TimeoutError):
                asked.result(0.2)
            assert loader.loaded == ["a"]
        assert asked.result(10).info.name == "b"
    assert names(pool) == ["b"]


def test_failed_load_is_told_and_harms_no_other(make_pool, loader, monkeypatch):
    monkeypatch.setattr(pool_module, "RETRY_SECONDS", 0.2)
    pool = make_pool(max_models=1)
    loader.refused = {"b"}
    use(pool, "a")
    with ThreadPoolExecutor(8) as threads:
        failures = list(threads.map(lambda _: use(pool, "b"), range(8)))
    assert all(isinstance(one, ModelUnavailable) and "the bundle is damaged" in one.message for one in failures)
    assert loader.loaded.count("b") == 1
    assert isinstance(use(pool, "a"), LoadedModel)
    loader.refused = set()
    assert isinstance(use(pool, "b"), ModelUnavailable)  # not tried again at once
    time.sleep(0.25)
    assert isinstance(use(pool, "b"), LoadedModel)
    assert names(pool) == ["b"]


def test_idle_model_is_unloaded_and_comes_back(make_pool, loader):
    pool = make_pool(idle_seconds=0.1)
    use(pool, "a")
    with pool.lease(info("b")) as loading:
        loading.result(10)
        pool.unload_idle()
        assert names(pool) == ["a", "b"]
        time.sleep(0.15)
        pool.unload_idle()
        assert names(pool) == ["b"]
    assert isinstance(use(pool, "a"), LoadedModel)
    assert loader.loaded == ["a", "b", "a"]


def test_replacement_is_loaded_beside(make_pool, loader):
    pool = make_pool(max_models=1)
    use(pool, "a")
    loader.gate.clear()
    seen = []
    pool.replace(info("a", "2"), lambda: seen.append(sorted(one.version for one in pool.loaded())))
    assert use(pool, "a").info.version == "1"
    loader.gate.set()
    wait_until(lambda: [one.version for one in pool.loaded()] == ["2"])
    assert seen == [["1", "2"]]


def test_failed_replacement_switches_nothing(make_pool, loader):
    pool = make_pool()
    use(pool, "a")
    loader.refused = {"b"}
    switched = []
    pool.replace(info("b"), lambda: switched.append(1))
    wait_until(lambda: "b" in loader.loaded)
    assert isinstance(use(pool, "b"), ModelUnavailable)
    assert not switched
    assert names(pool) == ["a"]


def test_closed_pool_gives_nothing(make_pool, loader):
    pool = make_pool()
    held = use(pool, "a")
    loader.gate.clear()
    with pool.lease(info("b")) as loading:
        wait_until(lambda: "b" in loader.begun)
        pool.close()
        loader.gate.set()
        assert isinstance(loading.result(10), ServiceStopping)
    with pytest.raises(ServiceStopping), pool.lease(info("a")):
        pass
    with pytest.raises(ServiceStopping):
        _require_open(held)


def test_many_threads_many_models(make_pool, loader):
    pool = make_pool(max_models=2)
    most = 0

    def use_one(number):
        nonlocal most
        with pool.lease(info(NAMES[number % 3])) as loading:
            loaded = loading.result(20)
            most = max(most, len(pool.loaded()))
            _require_open(loaded)
            return loaded.info.name == NAMES[number % 3]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use_one, range(60)))
    assert most == 2


def _require_open(loaded):
    answer = Future()
    loaded.batcher.submit(loaded.predictor.prepare(np.zeros((4, 4, 3), np.uint8)), answer)
    assert answer.result(10).labels
