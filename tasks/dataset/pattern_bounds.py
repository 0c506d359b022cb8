"""Whether a search with a regular expression can take a time that grows exponentially."""

from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]
from typing import Any

MAX_CHOICES = 8
_CHOICES = ("BRANCH", "MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


def endless_part(pattern: str, max_times: int) -> str:
    """Return what of a pattern can take for ever, as the rest of a sentence; empty when nothing does.

    That is a repeat of what holds a repeat or alternatives, a repeat of more than `max_times` at least (of nothing, it
    matches any text), and more than 8 places with alternatives or a repeat of no fixed number.

    Raises:
        re.error: when it is no regular expression.
    """
    # As `re` itself reads it: comments, classes and spaced patterns would hide repeats from a look at the text.
    places = list(_choices(_parser.parse(pattern)))
    repeats = [value for name, value in places if name != "BRANCH"]
    if any(most > 1 and any(True for _ in _choices(body)) for _, most, body in repeats):
        return "repeats what holds a repeat or alternatives"
    if any(least > max_times for least, _, _ in repeats):
        return f"repeats something more than {max_times} times"
    free = len(places) - sum(least == most for least, most, _ in repeats)
    return f"has more than {MAX_CHOICES} repeats and alternatives" if free > MAX_CHOICES else ""


def _choices(parsed: object) -> Iterator[tuple[str, Any]]:
    """Yield name and value of all alternatives and repeats in a part of a parsed pattern."""
    if isinstance(parsed, _parser.SubPattern):
        for name, value in parsed.data:
            if str(name) in _CHOICES:
                yield str(name), value
            yield from _choices(value)
    elif isinstance(parsed, list | tuple):
        for part in parsed:
            yield from _choices(part)
