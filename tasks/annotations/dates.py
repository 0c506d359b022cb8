"""Creation dates: every form found in manifests to the one that Keeneye writes."""

import re
from datetime import UTC, datetime, timedelta, timezone

UNDATED = "1970-01-01T00:00:00.000000"
"""What Keeneye writes where a source names no date; read back as no date."""

MAX_DATE_CHARACTERS = 100

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|z|[+-]\d\d:?\d\d)?", re.ASCII)
# JavaScript's Date.prototype.toString, as in a sample manifest of Lookout for Vision.
_JAVASCRIPT = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d) (?:GMT|UTC)([+-]\d{4})?(?: \(.*\))?", re.ASCII
)
_ZONE_BEFORE_OFFSET = re.compile(r"(?:GMT|UTC)(?=[+-]\d)")


def canonical_date(text: object) -> str:
    """Return a date as `YYYY-MM-DDTHH:MM:SS.ffffff` in UTC; empty for what is no date.

    A date without zone is in UTC, as Ground Truth writes it. What lacks a year, month or day, or names a zone that
    has no offset, is no date: the clock and the zone of this computer must not decide.
    """
    if not isinstance(text, str) or not text or len(text) > MAX_DATE_CHARACTERS:
        return ""
    text = text.strip()
    try:
        moment = _iso(text) or _javascript(text) or _any_form(text)
        if moment is None:
            return ""
        naive = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return ""
    canonical = naive.isoformat(timespec="microseconds")
    return "" if canonical == UNDATED else canonical


def _iso(text: str) -> datetime | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    # Digits beyond microseconds are cut, not rounded: rounding could move the date into the next second.
    microsecond = int((found[7] or "")[:6].ljust(6, "0"))
    return datetime(year, month, day, hour, minute, second, microsecond, _zone(found[8]) if found[8] else None)


def _javascript(text: str) -> datetime | None:
    found = _JAVASCRIPT.fullmatch(text)
    if found is None:
        return None
    return datetime.strptime(found[1], "%b %d %Y %H:%M:%S").replace(tzinfo=_zone(found[2] or "Z"))


def _zone(offset: str) -> timezone:
    if offset in ("Z", "z"):
        return UTC
    ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
    return timezone(-ahead if offset[0] == "-" else ahead)


def _any_form(text: str) -> datetime | None:
    from dateutil import parser

    # The parser reads "GMT+2" by POSIX, as west of Greenwich; people and JavaScript mean east.
    text = _ZONE_BEFORE_OFFSET.sub("", text)
    # It fills what is missing from a default; two defaults that differ everywhere show what was missing.
    first, second = (
        parser.parse(text, default=default, tzinfos=_known_zone)
        for default in (datetime(2000, 1, 1), datetime(2004, 2, 2))
    )
    return first if first == second else None


def _known_zone(name: str | None, offset: int | None) -> timezone | None:
    if offset is not None:
        return timezone(timedelta(seconds=offset))
    if name is not None:
        raise ValueError(f"zone {name} has no offset")
    return None
