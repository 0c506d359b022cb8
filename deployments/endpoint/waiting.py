"""Threads for what blocks, apart by what they wait for, and how long a request waits for them.

A registry that hangs takes its own threads only: signatures are still verified, and loaded models still answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tasks.errors import EnvironmentFailed

REGISTRY_THREADS = 32
STORE_THREADS = 8
BODY_THREADS = 2
REGISTRY_SECONDS = 10.0
"""How long a request waits for what the registry and the states' database say."""

T = TypeVar("T")


class UnjoinedThreads(ThreadPoolExecutor):
    """Threads that a closing event loop does not wait for: what hangs in them may hang for minutes."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more, and return at once."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)


_bodies = UnjoinedThreads(BODY_THREADS, "keeneye-body")
_store = UnjoinedThreads(STORE_THREADS, "keeneye-store")


def keep_registry_apart() -> None:
    """Give the running loop's `asyncio.to_thread`, by which the registry is asked, threads that nobody else needs."""
    asyncio.get_running_loop().set_default_executor(UnjoinedThreads(REGISTRY_THREADS, "keeneye-registry"))


async def of_body(work: Callable[[], T]) -> T:
    """Do what takes long with a large body: hash it, read it."""
    return await asyncio.get_running_loop().run_in_executor(_bodies, work)


async def of_store(work: Callable[[], T]) -> T:
    """Read from an S3 store."""
    return await asyncio.get_running_loop().run_in_executor(_store, work)


async def in_time(answer: Awaitable[T]) -> T:
    """Wait for the registry, but not for ever.

    Raises:
        EnvironmentFailed: when it has not answered after `REGISTRY_SECONDS`.
    """
    try:
        async with asyncio.timeout(REGISTRY_SECONDS):
            return await answer
    except TimeoutError:
        raise EnvironmentFailed(
            f"the registry or the states' database has not answered for {REGISTRY_SECONDS:g} seconds; try again later"
        ) from None
