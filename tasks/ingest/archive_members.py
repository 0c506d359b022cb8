"""Members of zip and tar archives, one after the other, with bounded memory. Writes nothing."""

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Literal, cast

Kind = Literal["file", "folder", "link", "special"]

MAX_HEADER_BYTES = 1_000_000
"""What stands before a tar member's data, such as a long name or extended attributes."""
READ_AHEAD_BYTES = 1 << 18
"""How much compressed data a decompressor may hold that it has not unpacked."""
_CHUNK_BYTES = 1 << 20
# tarfile searches headers with expressions whose time grows with the square of a run of digits.
_LONG_NUMBER = re.compile(rb"\d{100}")
_END_BLOCK = bytes(tarfile.BLOCKSIZE)
_DIRECTORY_ENTRY = b"PK\x01\x02"
_END_OF_DIRECTORY = b"PK\x05\x06"
_END_BYTES = 22
_LOCATOR = b"PK\x06\x07"
_ZIP64_BYTES = 76  # end record and locator, between the directory and the end


class DamagedArchive(Exception):
    """The message is what follows on "the archive"."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive, to be read before the next one is asked for.

    Attributes:
        name: as the archive has it; bytes that are no UTF-8 as lone surrogates.
        kind: `special` is a device, a pipe, or a file with holes.
        read: gives up to so many bytes of a file, and none at its end.
        compressed_bytes: how many bytes of the archive were read for it at most.
    """

    name: str
    kind: Kind
    read: Callable[[int], bytes] = lambda size: b""
    compressed_bytes: Callable[[], int] = int


def zip_members(archive: Path, max_members: int) -> Iterator[Member]:
    """Yield the members of a zip archive.

    Raises:
        DamagedArchive: when a member is encrypted, or there are more than `max_members`.
        Exception: what zipfile and the decompressors raise for damaged archives.
    """
    with archive.open("rb") as raw:
        # zipfile holds the whole directory in memory, so it is counted first.
        if _count_entries(raw) > max_members:
            raise DamagedArchive(f"has more than {max_members:,} members")
        with zipfile.ZipFile(raw) as opened:
            for info in opened.infolist():
                if info.flag_bits & 1:
                    raise DamagedArchive("is encrypted")
                kind = _zip_kind(info)
                if kind != "file":
                    yield Member(info.filename, kind)
                    continue
                with opened.open(info) as stream:
                    yield Member(info.filename, kind, stream.read, partial(int, info.compress_size))


def tar_members(archive: Path, max_bytes: int) -> Iterator[Member]:
    """Yield the members of a tar archive, compressed with gzip, bzip2, xz or not at all.

    Raises:
        DamagedArchive: when it unpacks to more than `max_bytes`, or has no end.
        Exception: what tarfile and the decompressors raise for damaged archives.
    """
    with archive.open("rb") as raw:
        stream = _ForwardStream(_decompressed(raw), max_bytes)
        opened = tarfile.TarFile(fileobj=cast(IO[bytes], stream), encoding="utf-8", errors="surrogateescape")
        while (info := opened.next()) is not None:
            # tarfile lists members for those who come back to one.
            opened.members.clear()  # type: ignore[attr-defined]
            read = partial(stream.read_data, stream.tell() + info.size)
            yield Member(info.name, _tar_kind(info), read, partial(_read_since, raw, raw.tell()))
            stream.begin_header()
        # tarfile takes a header that it cannot read for the end.
        if stream.last_read != _END_BLOCK:
            raise DamagedArchive("is cut short or damaged")
        stream.read_to_end()


class _ForwardStream:
    """The bytes of a tar as tarfile reads them: forwards only, and no more for a header than it may take.

    tarfile alone holds a header of any length in memory, and follows a size below zero backwards for ever.
    """

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream = stream
        self._position = 0
        self._max_bytes = max_bytes
        self._header_bytes_left = MAX_HEADER_BYTES
        self.last_read = b""

    def begin_header(self) -> None:
        """Allow as many bytes as one header may have."""
        self._header_bytes_left = MAX_HEADER_BYTES

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise DamagedArchive("is damaged: a member leads back to one before")
        while self._position < position and self._take(min(_CHUNK_BYTES, position - self._position)):
            pass

    def read(self, size: int) -> bytes:
        """Read for tarfile, so a part of a header."""
        self._header_bytes_left -= size
        if self._header_bytes_left < 0:
            raise DamagedArchive(f"has a header of more than {MAX_HEADER_BYTES // 1_000_000} MB")
        self.last_read = self._take(size)
        if _LONG_NUMBER.search(self.last_read):
            raise DamagedArchive("has a header with a number of more than a hundred digits")
        return self.last_read

    def read_data(self, end: int, size: int) -> bytes:
        """Read a part of the data that ends at `end`; nothing once it is reached."""
        wanted = min(size, end - self._position)
        data = self._take(wanted) if wanted > 0 else b""
        if wanted > 0 and not data:
            raise DamagedArchive("is cut short")
        return data

    def read_to_end(self) -> None:
        """Read what stands behind the tar's end, because checksums of compressed files stand last."""
        while self._take(_CHUNK_BYTES):
            pass

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._position += len(data)
        if self._position > self._max_bytes:
            raise DamagedArchive(f"unpacks to more than {self._max_bytes / 1e9:g} GB")
        return data


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if magic == b"\xfd7zXZ\x00" else raw


def _read_since(raw: IO[bytes], before: int) -> int:
    return raw.tell() - before + READ_AHEAD_BYTES


def _zip_kind(info: zipfile.ZipInfo) -> Kind:
    format_bits = stat.S_IFMT(info.external_attr >> 16)
    if format_bits == stat.S_IFLNK:
        return "link"
    # Not is_dir(), which fails on an empty name.
    if info.filename.endswith("/") or format_bits == stat.S_IFDIR:
        return "folder"
    return "file" if format_bits in (0, stat.S_IFREG) else "special"


def _tar_kind(info: tarfile.TarInfo) -> Kind:
    if info.issym() or info.islnk():
        return "link"
    if info.isdir():
        return "folder"
    return "file" if info.isreg() and not info.issparse() else "special"


def _count_entries(raw: IO[bytes]) -> int:
    """Return how many entries the directory of a zip has at most, without holding it (APPNOTE 6.3.10, 4.3.12 to 16)."""
    size = raw.seek(0, io.SEEK_END)
    raw.seek(max(0, size - _END_BYTES - 0xFFFF))
    tail = raw.read()
    place = _place_of_end(tail)
    if place < 0:
        return 0  # zipfile refuses it
    directory_bytes = int.from_bytes(tail[place + 12 : place + 16], "little")
    if tail[max(0, place - 20) : place].startswith(_LOCATOR):
        directory_bytes = int.from_bytes(tail[max(0, place - 36) : max(0, place - 28)], "little")
    end = size - len(tail) + place
    raw.seek(max(0, end - directory_bytes - _ZIP64_BYTES))
    count, before = 0, b""
    while raw.tell() < end and (chunk := raw.read(_CHUNK_BYTES)):
        # A signature may stand across two chunks; three bytes are too few to count one twice.
        count += (before + chunk).count(_DIRECTORY_ENTRY)
        before = chunk[-3:]
    return count


def _place_of_end(tail: bytes) -> int:
    # As zipfile looks for it: without a comment first.
    if tail[-_END_BYTES:].startswith(_END_OF_DIRECTORY) and tail.endswith(b"\0\0"):
        return len(tail) - _END_BYTES
    return tail.rfind(_END_OF_DIRECTORY)
