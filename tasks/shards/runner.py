"""Who carries out shards: this process, one after another, or the workers of a Dask cluster, many at once.

A piece of work is told how many threads it may use. Here that is all cores, for a shard's images are read and decoded
in threads while the network runs on the cores; on a cluster it is one, for as many shards run at once as a worker has
threads. What a shard gives does not depend on it, nor on who carries it out, so nothing of it is part of a key.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

S = TypeVar("S")
R = TypeVar("R")
S_contra = TypeVar("S_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

Tell = Callable[[int], None]
"""Called with a number of images that are done, as work goes on."""


class Work(Protocol[S_contra, R_co]):
    """What is done to each shard. To be sent to other machines it is small, frozen, and made of what pickles.

    What is large is left in the content store, which all machines share; only its place is returned.
    """

    def __call__(self, shard: S_contra, threads: int, tell: Tell) -> R_co:
        """Carry out one shard with at most so many threads at a time that compute (0: one per core)."""
        ...


class ShardRunner(Protocol):
    """Carries out shards."""

    def map(self, work: Work[S, R], shards: Iterable[S], tell: Tell) -> Iterator[R]:
        """Yield what the work makes of each shard, in their order.

        Raises:
            EnvironmentFailed: when those who should carry them out do not answer, or are not as this process is.
        """
        ...


class RunnerChoice(Protocol):
    """What a request says of it: `flows.shards_config.ShardsConfig`."""

    @property
    def runner(self) -> str:
        """`threads` or `dask`."""
        ...

    @property
    def address(self) -> str:
        """Of Dask's scheduler."""
        ...

    @property
    def threads(self) -> int:
        """On this machine; 0 is one per core."""
        ...


class ThreadsRunner:
    """Carries out shards in this process, one after another, the images of each in threads."""

    def __init__(self, threads: int = 0) -> None:
        """Use so many cores; 0 means all."""
        self._threads = threads

    def map(self, work: Work[S, R], shards: Iterable[S], tell: Tell) -> Iterator[R]:
        """Yield what the work makes of each shard, in their order."""
        for shard in shards:
            yield work(shard, self._threads, tell)


HERE = ThreadsRunner()
"""All cores of this machine."""


@contextmanager
def open_runner(store: Path, choice: RunnerChoice) -> Iterator[ShardRunner]:
    """Give who is to carry out shards; a cluster is asked at the first shard, not before.

    Args:
        store: folder of the content store, which the workers of a cluster must see too.
        choice: what the request says.
    """
    if choice.runner == "threads":
        yield ThreadsRunner(choice.threads)
        return
    # Loaded where it is asked for: it takes a second, and not everybody has it.
    from tasks.shards.dask_runner import DaskRunner

    runner = DaskRunner(choice.address, store)
    try:
        yield runner
    finally:
        runner.close()


def cores(threads: int) -> int:
    """Return a number of threads, of which 0 means one for each core this process may use."""
    return threads or len(os.sched_getaffinity(0))


def shards_of(items: Iterable[S], size: int) -> Iterator[list[S]]:
    """Yield lists of `size` items, the last one perhaps shorter."""
    remaining = iter(items)
    while shard := list(islice(remaining, size)):
        yield shard
