"""A key's share of the endpoint: how many of its requests may be in hand at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.endpoint.keys import Key
from tasks.errors import KeeneyeError


class ShareUsedUp(KeeneyeError):
    """A key has as many requests in hand as its `max_pending` allows."""


class Shares:
    """Requests in hand by key; of one event loop."""

    def __init__(self) -> None:
        self._pending: Counter[str] = Counter()

    @contextmanager
    def place(self, key: Key | None) -> Iterator[None]:
        """Hold one place of a key's share; who has no share is not counted.

        Raises:
            ShareUsedUp: when none is free.
        """
        if key is None or key.max_pending is None:
            yield
            return
        if self._pending[key.access_key_id] >= key.max_pending:
            raise ShareUsedUp(
                f"this key has {key.max_pending} requests in hand, as many as it may; wait for an answer of them"
            )
        self._pending[key.access_key_id] += 1
        try:
            yield
        finally:
            self._pending[key.access_key_id] -= 1
            if not self._pending[key.access_key_id]:
                del self._pending[key.access_key_id]
