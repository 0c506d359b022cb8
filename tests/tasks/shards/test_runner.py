import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.shards_config import ShardsConfig
from tasks.errors import EnvironmentFailed
from tasks.shards.alike import MARKS_FOLDER, Likeness, own_likeness, shared_mark
from tasks.shards.runner import HERE, ThreadsRunner, cores, open_runner, shards_of

CLUSTER = "tcp://127.0.0.1:8786"


def add(shard, threads, tell):
    tell(len(shard))
    return sum(shard), threads


def test_threads_carry_out_shards_in_order() -> None:
    told: list[int] = []
    found = list(ThreadsRunner(3).map(add, shards_of(range(7), 3), told.append))
    assert found == [(3, 3), (12, 3), (6, 3)]
    assert told == [3, 3, 1]


def test_a_shard_is_begun_when_it_is_asked_for() -> None:
    told: list[int] = []
    found = HERE.map(add, shards_of(range(4), 2), told.append)
    assert next(found) == (1, 0)
    assert told == [2]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_shards_hold_everything_once(count: int, sizes: list[int]) -> None:
    shards = list(shards_of(range(count), 4))
    assert [len(shard) for shard in shards] == sizes
    assert [item for shard in shards for item in shard] == list(range(count))


def test_no_number_of_threads_means_all_cores() -> None:
    assert cores(0) == len(os.sched_getaffinity(0))
    assert cores(5) == 5


def test_the_request_says_who(tmp_path: Path) -> None:
    with open_runner(tmp_path, ShardsConfig(threads=2)) as runner:
        assert list(runner.map(add, [[1]], lambda _: None)) == [(1, 2)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({"runner": "dask"}, "needs shards.address", id="no address"),
        pytest.param({"address": CLUSTER}, "does nothing with shards.runner threads", id="idle address"),
        pytest.param({"runner": "dask", "address": CLUSTER, "threads": 2}, "shards.threads does nothing", id="threads"),
        pytest.param({"runner": "ray"}, "'threads' or 'dask'", id="unknown"),
        pytest.param({"runner": "dask", "address": "127.0.0.1:8786"}, "should match pattern", id="no scheme"),
        pytest.param({"runner": "dask", "address": "tcp://host"}, "should match pattern", id="no port"),
        pytest.param({"runner": "dask", "address": f"{CLUSTER}\n"}, "should match pattern", id="two lines"),
        pytest.param({"threads": -1}, "greater than or equal to 0", id="negative"),
    ],
)
def test_wrong_choices_are_refused(values: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ShardsConfig(**values)


@pytest.mark.parametrize("address", [CLUSTER, "tls://dask.example.org:8786", "tcp://[::1]:8786"])
def test_addresses(address: str) -> None:
    assert ShardsConfig(runner="dask", address=address).address == address


# Whether a worker is like the process that asks


def test_who_is_alike_may_work(tmp_path: Path) -> None:
    with shared_mark(tmp_path) as mark:
        own_likeness(mark).require()
    assert list((tmp_path / MARKS_FOLDER).iterdir()) == []


def test_who_does_not_see_the_store_may_not(tmp_path: Path) -> None:
    with shared_mark(tmp_path / "store") as mark:
        likeness = own_likeness(mark)
    with pytest.raises(EnvironmentFailed, match=rf"does not see {tmp_path / 'store'}; mount the folder"):
        likeness.require()


def test_who_has_other_versions_may_not(tmp_path: Path) -> None:
    with shared_mark(tmp_path) as mark:
        likeness = own_likeness(mark)
        changed = tuple((name, "0.1" if name == "onnxruntime" else found) for name, found in likeness.versions)
        with pytest.raises(EnvironmentFailed, match=r"has onnxruntime [0-9.]+, this run has 0\.1"):
            Likeness(likeness.mark, changed).require()
