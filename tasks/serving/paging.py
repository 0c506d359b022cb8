"""Lists told page by page: where a page ended is in its token, so the server remembers nothing."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tasks.errors import RequestError

T = TypeVar("T")
Place = tuple[int, str]
"""What a list is sorted by; distinct for each of its items."""


class InvalidPageToken(RequestError):
    """A page's token was not given by the list that it is used with."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, and the token of the next part; empty at the end."""

    items: list[T]
    next_token: str = ""


def page_of(items: Sequence[T], place: Callable[[T], Place], *, scope: str, token: str, limit: int) -> Page[T]:
    """Cut a page from a list.

    A page starts after the place where the one before ended, so what is added or removed meanwhile neither repeats
    nor hides others.

    Args:
        items: the whole list, in any order.
        place: what to sort by.
        scope: what list this is; a token of another one is refused.
        token: of the page before; empty for the first page.
        limit: items per page, at least 1.

    Raises:
        InvalidPageToken: when the token is not one of this list's.
    """
    start = _read_token(token, scope) if token else None
    rest = sorted((one for one in items if start is None or place(one) > start), key=place)
    page = rest[:limit]
    return Page(page, _token(place(page[-1]), scope) if len(rest) > limit else "")


def _token(place: Place, scope: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([_digest(scope), *place]).encode()).decode()


def _read_token(token: str, scope: str) -> Place:
    try:
        document = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise _invalid() from None
    match document:
        case [digest, int(number), str(text)] if digest == _digest(scope):
            return number, text
    raise _invalid()


def _digest(scope: str) -> str:
    return hashlib.sha256(scope.encode()).hexdigest()[:16]


def _invalid() -> InvalidPageToken:
    return InvalidPageToken("the token is not one that this list gave; start again without a token")
