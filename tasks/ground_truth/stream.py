"""The lines of a manifest file one after the other, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from tasks.ground_truth.limits import LIMITS, Mode
from tasks.ground_truth.lines import (
    ParsedLine,
    digest_of,
    duplicate_of,
    ignored,
    overlong_line,
    parse_line,
    with_problems,
)
from tasks.ground_truth.problems import Problem

BLOCK_BYTES = 1 << 20
LINE_BREAK_BYTES = 2


def raw_lines(stream: BinaryIO, stop: int, max_bytes: int) -> Iterator[bytes | None]:
    """Yield the lines that begin before byte `stop`, with their breaks; None for one longer than `max_bytes`.

    No more than that is held of a line, however long it is.
    """
    limit = max_bytes + LINE_BREAK_BYTES
    position = stream.tell()
    while position < stop:
        line = stream.readline(limit)
        if not line:
            return
        position += len(line)
        if len(line) < limit or line.endswith(b"\n"):
            yield line
        else:
            position += skip_rest_of_line(stream)
            yield None


def skip_rest_of_line(stream: BinaryIO) -> int:
    """Go to the next line in bounded memory; return how many bytes that is."""
    skipped = 0
    while piece := stream.readline(BLOCK_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def read_lines(path: Path, mode: Mode) -> Iterator[ParsedLine]:
    """Yield every line of a manifest, read and checked; the first is line 1. Blank lines count.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb", buffering=BLOCK_BYTES) as stream:
        size = path.stat().st_size
        for text in raw_lines(stream, size, LIMITS[mode].max_line_bytes):
            yield overlong_line(mode) if text is None else parse_line(text, mode)


def judged_lines(path: Path, mode: Mode, extra_by_source_ref: Mapping[str, Sequence[Problem]]) -> Iterator[ParsedLine]:
    """Yield every line of a manifest with the problems that only other lines or the image show.

    The second valid line of an image is ignored, as the managed service does without a word.
    """
    first_lines: dict[bytes, int] = {}
    for number, line in enumerate(read_lines(path, mode), start=1):
        parsed = with_problems(line, extra_by_source_ref.get(line.source_ref, ()))
        if parsed.status == "valid":
            first = first_lines.setdefault(digest_of(parsed.source_ref), number)
            if first != number:
                parsed = ignored(parsed, duplicate_of(first))
        yield parsed
