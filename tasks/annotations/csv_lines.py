"""Records of a CSV file, from lines of a bounded length: a line of a hundred megabytes costs no memory."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.errors import DataError

MAX_RECORD_BYTES = 1_000_000
DELIMITERS = ",;\t"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SKIPPED_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Record:
    """A row of the table.

    Attributes:
        row: line of the file on which it begins, from 1; the heading is row 1.
        cells: its texts; empty when `problem` says why they cannot be read.
        problem: what follows on "the row"; empty when there is none.
    """

    row: int
    cells: tuple[str, ...]
    problem: str = ""


class _BoundedLines:
    """Lines of a UTF-8 stream. Those of one record together are no longer than `MAX_RECORD_BYTES`."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = 0
        self.number = 0

    def begin_record(self) -> None:
        self._left = MAX_RECORD_BYTES

    def __iter__(self) -> "_BoundedLines":
        return self

    def __next__(self) -> str:
        line = self._stream.readline(self._left + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > self._left:
            while not line.endswith(b"\n") and (line := self._stream.readline(_SKIPPED_AT_ONCE)):
                pass
            raise csv.Error(f"more than {MAX_RECORD_BYTES // 1_000_000} MB")
        self._left -= len(line)
        return line.decode("utf-8-sig" if self.number == 1 else "utf-8")


def read_heading(path: Path) -> tuple[str, ...]:
    """Return the cells of a table's first row; of a UTF-16 table too, whose rows are not read.

    Raises:
        DataError: when the file cannot be read or the row is none.
    """
    with _opened(path) as stream:
        line = stream.readline(MAX_RECORD_BYTES)
    if line.startswith(_UTF16_MARKS):
        return _cells_of_heading(line.decode("utf-16", "ignore"))
    return _first_record(path).cells


def read_records(path: Path) -> Iterator[Record]:
    """Yield the rows of a table, the heading first; rows without any text are passed over.

    The delimiter is the one of comma, semicolon and tab that stands most often in the heading.

    Raises:
        DataError: when the file cannot be read, or is UTF-16.
    """
    with _opened(path) as stream:
        heading = stream.readline(MAX_RECORD_BYTES)
        if heading.startswith(_UTF16_MARKS):
            raise DataError(f"{path} is UTF-16, which is not read; save the table as CSV UTF-8")
        stream.seek(0)
        lines = _BoundedLines(stream)
        reader = csv.reader(lines, delimiter=_delimiter_of(heading.decode("utf-8", "replace")))
        while True:
            lines.begin_record()
            row = lines.number + 1
            try:
                cells = tuple(cell.strip() for cell in next(reader))
            except StopIteration:
                return
            except UnicodeDecodeError:
                yield Record(row, (), "is not UTF-8; save the table as CSV UTF-8")
            except csv.Error as error:
                yield Record(row, (), f"cannot be read ({error}); close its quotation marks")
            else:
                if any(cells):
                    yield Record(row, cells)


def _first_record(path: Path) -> Record:
    first = next(read_records(path), Record(1, (), "is missing"))
    if first.problem:
        raise DataError(f"the heading of {path} {first.problem}; give it one with a column of images")
    return first


def _cells_of_heading(line: str) -> tuple[str, ...]:
    heading = line.partition("\n")[0]
    return tuple(cell.strip().strip('"') for cell in heading.split(_delimiter_of(heading)))


def _delimiter_of(heading: str) -> str:
    return max(DELIMITERS, key=heading.count)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); change its permissions") from error
