"""Unpack an archive that nobody vouches for: nothing outside the folder, no links, no bombs."""

import errno
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from tasks.dataset.findings import Finding
from tasks.errors import DataError, EnvironmentFailed
from tasks.ingest.archive_members import DamagedArchive, Member, tar_members, zip_members
from tasks.ingest.walk import is_text

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_FOLDERS = 64
RATIO_FROM_BYTES = 10_000_000
"""Below this size nothing can do harm, however well it is compressed."""
_CHUNK_BYTES = 1 << 20
_SHOWN_CHARACTERS = 200
_FILE_MODE = 0o644
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_NAME_ERRORS = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ})
_DAMAGE = (
    *(EOFError, LookupError, LZMAError, OSError, OverflowError, RuntimeError, ValueError, struct.error),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may hold.

    Attributes:
        max_members: files, folders and all else.
        max_bytes: of all files together, unpacked.
        max_member_bytes: of one file, unpacked.
        max_ratio: unpacked bytes for each byte of the archive.
    """

    max_members: int = 500_000
    max_bytes: int = 50_000_000_000
    max_member_bytes: int = 1_000_000_000
    max_ratio: int = 1000


def is_archive(path: Path) -> bool:
    """Whether a file's name ends like that of an archive that can be unpacked."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> list[Finding]:
    """Unpack the files of an archive; the limits are checked on what comes out, not on what the archive says.

    Folders without files are not made. Members are never handed to tarfile's or zipfile's own extraction.

    Args:
        archive: of a name with one of `ARCHIVE_SUFFIXES`.
        folder: empty, or made.
        limits: what the archive may hold.

    Returns:
        A finding for each member that was not written: `ERROR_OUTSIDE_SOURCE` for names that lead out of the folder,
        `ERROR_INVALID_FILE_NAME` for others that cannot be used, `WARNING_IGNORED_FILE` for links, devices and
        repeated names.

    Raises:
        DataError: when the archive is damaged, encrypted or beyond a limit; the folder then holds a part of it.
        EnvironmentFailed: when the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return list(_write_members(_members(archive, limits), folder, _Meter(limits, archive.stat().st_size)))
    except DamagedArchive as error:
        raise DataError(f"the archive {archive} {error}; make it anew, or unpack it and name its folder") from error
    except _DAMAGE as error:
        reason = str(error)[:_SHOWN_CHARACTERS] or type(error).__name__
        raise DataError(f"the archive {archive} is damaged ({reason}); make it anew") from error


@dataclass(slots=True)
class _Meter:
    """Counts what came out of an archive, and stops at the limits."""

    limits: ArchiveLimits
    archive_bytes: int
    members: int = 0
    unpacked_bytes: int = 0

    def count_member(self) -> None:
        self.members += 1
        if self.members > self.limits.max_members:
            raise DamagedArchive(f"has more than {self.limits.max_members:,} members")

    def count_bytes(self, count: int, of_member: int, compressed_bytes: int) -> None:
        self.unpacked_bytes += count
        if of_member > self.limits.max_member_bytes:
            raise DamagedArchive(f"has a file of more than {self.limits.max_member_bytes / 1e9:g} GB")
        if self.unpacked_bytes > self.limits.max_bytes:
            raise DamagedArchive(f"unpacks to more than {self.limits.max_bytes / 1e9:g} GB")
        for unpacked, compressed in ((of_member, compressed_bytes), (self.unpacked_bytes, self.archive_bytes)):
            if unpacked > max(RATIO_FROM_BYTES, self.limits.max_ratio * compressed):
                raise DamagedArchive(f"unpacks to more than {self.limits.max_ratio} times its size, as a bomb does")


def _members(archive: Path, limits: ArchiveLimits) -> Iterator[Member]:
    if archive.name.lower().endswith(".zip"):
        return zip_members(archive, limits.max_members)
    # Headers and padding come on top of the files, each file of few bytes taking two blocks.
    return tar_members(archive, limits.max_bytes + limits.max_members * 2 * tarfile.BLOCKSIZE)


def _write_members(members: Iterator[Member], folder: Path, meter: _Meter) -> Iterator[Finding]:
    for member in members:
        meter.count_member()
        if member.kind == "folder":
            continue
        problem = _problem_of(member) or _write_file(member, folder, meter)
        if problem:
            code, message = problem
            shown = member.name[:_SHOWN_CHARACTERS].encode("utf-8", "backslashreplace").decode("utf-8")
            yield Finding(code=code, source_ref=shown, message=message)


def problem_of_name(name: str) -> tuple[str, str] | None:
    """Return code and message of why a name that others chose is no path below a folder; None when it is one."""
    return _leads_out(name) or _unusable(name)


def _leads_out(name: str) -> tuple[str, str] | None:
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or _DRIVE.match(name):
        return "ERROR_OUTSIDE_SOURCE", "the name leads out of its folder or has a backslash; rename the file"
    return None


def _unusable(name: str) -> tuple[str, str] | None:
    if not is_text(name) or _CONTROL_CHARACTER.search(name):
        return "ERROR_INVALID_FILE_NAME", "the name is not valid UTF-8 or has control characters; rename the file"
    if not PurePosixPath(name).name or name.count("/") >= MAX_FOLDERS:
        return "ERROR_INVALID_FILE_NAME", f"the name is empty or more than {MAX_FOLDERS} folders deep; rename the file"
    return None


def _problem_of(member: Member) -> tuple[str, str] | None:
    if outside := _leads_out(member.name):
        return outside
    if member.kind == "link":
        return "WARNING_IGNORED_FILE", "links are not unpacked; pack the file that it leads to"
    if member.kind == "special":
        return "WARNING_IGNORED_FILE", "devices, pipes and files with holes are not unpacked; pack a plain file"
    return _unusable(member.name)


def _write_file(member: Member, folder: Path, meter: _Meter) -> tuple[str, str] | None:
    target = folder / PurePosixPath(member.name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            for chunk in _chunks(member, meter):
                stream.write(chunk)
        target.chmod(_FILE_MODE)
    except FileExistsError:
        return "WARNING_IGNORED_FILE", "a file of its name, or of one of its folders', was unpacked before; rename one"
    except OSError as error:
        if error.errno in _NAME_ERRORS:
            return "ERROR_INVALID_FILE_NAME", f"the name cannot be used here ({error.strerror}); rename the file"
        message = f"{folder} cannot be written to ({error.strerror}); make room there and start again"
        raise EnvironmentFailed(message) from error
    return None


def _chunks(member: Member, meter: _Meter) -> Iterator[bytes]:
    written = 0
    while chunk := _read_chunk(member):
        written += len(chunk)
        meter.count_bytes(len(chunk), written, member.compressed_bytes())
        yield chunk


def _read_chunk(member: Member) -> bytes:
    try:
        return member.read(_CHUNK_BYTES)
    except OSError as error:
        # Not to be taken for a failure to write.
        raise DamagedArchive(f"is damaged ({str(error)[:_SHOWN_CHARACTERS]})") from error
