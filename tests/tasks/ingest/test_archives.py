import bz2
import contextlib
import gzip
import io
import lzma
import os
import resource
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import DataError, EnvironmentFailed
from tasks.ingest.archives import ARCHIVE_SUFFIXES, ArchiveLimits, is_archive, unpack

FILES = {"good/1.png": b"one", "cut/deep/2.png": b"two" * 700, "empty.txt": b""}
LIMITS = ArchiveLimits()
OPENERS = {".tar": open, ".tar.gz": gzip.open, ".tgz": gzip.open, ".tar.bz2": bz2.open, ".tar.xz": lzma.open}


def tar_bytes(*members, format=tarfile.PAX_FORMAT):
    """Members are (name, data) or a TarInfo with its data."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format, errors="surrogateescape") as archive:
        for head, data in members:
            info = head if isinstance(head, tarfile.TarInfo) else tarfile.TarInfo(head)
            if info.type == tarfile.REGTYPE:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def tar_member(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def zip_bytes(*members, compression=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for head, data in members:
            archive.writestr(head, data)
    return stream.getvalue()


def zip_member(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def unpacked(tmp_path, name, data, limits=LIMITS):
    """Return the files below the folder, and the findings as (code, place)."""
    archive = tmp_path / name
    archive.write_bytes(data)
    folder = tmp_path / "inside" / "folder"
    findings = unpack(archive, folder, limits)
    return files_below(folder), [(finding.code, finding.source_ref) for finding in findings]


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def refusal(tmp_path, name, data, limits=LIMITS):
    with pytest.raises(DataError) as caught:
        unpacked(tmp_path, name, data, limits)
    assert str(tmp_path / name) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("suffix", ARCHIVE_SUFFIXES)
def test_archive_of_every_kind_gives_its_files(tmp_path, suffix):
    archive = tmp_path / f"Set{suffix}"
    if suffix == ".zip":
        archive.write_bytes(zip_bytes(("good/", b""), *FILES.items()))
    else:
        with OPENERS[suffix](archive, "wb") as stream:
            stream.write(tar_bytes(tar_member("good", tarfile.DIRTYPE), *FILES.items()))
    assert is_archive(archive)
    assert unpack(archive, tmp_path / "out", LIMITS) == []
    assert files_below(tmp_path / "out") == dict(sorted(FILES.items()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.ZIP", True), ("a.Tar.Gz", True), ("a.gz", False), ("a.7z", False), ("zip", False), ("a.zip.png", False)],
)
def test_archive_is_told_by_its_name(tmp_path, name, expected):
    assert is_archive(tmp_path / name) is expected


def test_files_are_written_plainly(tmp_path):
    info = tarfile.TarInfo("a.png")
    info.mode = 0o4777
    unpacked(tmp_path, "a.tar", tar_bytes((info, b"x")))
    assert stat.S_IMODE((tmp_path / "inside/folder/a.png").stat().st_mode) == 0o644


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "a/..",
        "/evil.png",
        "//evil.png",
        "C:/evil.png",
        "c:evil",
        "a\\evil.png",
        "..\\e",
    ],
)
def test_member_that_would_leave_the_folder_is_a_finding(tmp_path, kind, name):
    members = (("first.png", b"1"), (name, b"x"), ("last.png", b"2"))
    data = zip_bytes(*members) if kind == "zip" else tar_bytes(*members)
    files, findings = unpacked(tmp_path, f"a.{kind}", data)
    assert files == {"first.png": b"1", "last.png": b"2"}
    assert findings == [("ERROR_OUTSIDE_SOURCE", name)]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [f"a.{kind}", "first.png", "last.png"]


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        pytest.param(tarfile.SYMTYPE, "/etc", id="symbolic link out"),
        pytest.param(tarfile.SYMTYPE, "other", id="symbolic link inside"),
        pytest.param(tarfile.LNKTYPE, "/etc/passwd", id="hard link"),
        pytest.param(tarfile.CHRTYPE, "", id="character device"),
        pytest.param(tarfile.BLKTYPE, "", id="block device"),
        pytest.param(tarfile.FIFOTYPE, "", id="pipe"),
    ],
)
def test_link_or_device_of_a_tar_is_passed_over_and_files_behind_it_stay_inside(tmp_path, kind, link):
    data = tar_bytes(tar_member("way", kind, link), ("way/a.png", b"x"))
    files, findings = unpacked(tmp_path, "a.tar", data)
    assert files == {"way/a.png": b"x"}
    assert findings == [("WARNING_IGNORED_FILE", "way")]
    assert not (tmp_path / "inside/folder/way").is_symlink()


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO | 0o666, stat.S_IFSOCK])
def test_link_or_device_of_a_zip_is_passed_over(tmp_path, mode):
    files, findings = unpacked(tmp_path, "a.zip", zip_bytes((zip_member("way", mode), b"/etc/passwd"), ("b.png", b"x")))
    assert files == {"b.png": b"x"}
    assert findings == [("WARNING_IGNORED_FILE", "way")]


def test_file_with_holes_is_passed_over(tmp_path):
    info = tarfile.TarInfo("holes.png")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000000000000", "GNU.sparse.name": "holes.png"}
    files, findings = unpacked(tmp_path, "a.tar", tar_bytes((info, b"x"), ("b.png", b"y")))
    assert files == {"b.png": b"y"}
    assert findings == [("WARNING_IGNORED_FILE", "holes.png")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        pytest.param("a\udcff.png", "a\\udcff.png", id="no UTF-8"),
        pytest.param("a\n.png", "a\n.png", id="line break"),
        pytest.param("n" * 300, "n" * 200, id="too long"),
        pytest.param("d/" * 64 + "a.png", ("d/" * 64 + "a.png")[:200], id="too deep"),
        pytest.param(".", ".", id="no name"),
    ],
)
def test_name_that_cannot_be_used_is_a_finding(tmp_path, name, shown):
    data = tar_bytes((name, b"x"), ("b.png", b"y"), format=tarfile.GNU_FORMAT)
    files, findings = unpacked(tmp_path, "a.tar", data)
    assert files == {"b.png": b"y"}
    assert findings == [("ERROR_INVALID_FILE_NAME", shown)]


def test_zip_member_without_a_name_is_a_finding(tmp_path):
    # A name ends at its first NUL.
    data = zip_bytes(("?.png", b"x"), ("b.png", b"y")).replace(b"?.png", b"\0.png")
    assert unpacked(tmp_path, "a.zip", data) == ({"b.png": b"y"}, [("ERROR_INVALID_FILE_NAME", "")])


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a/1.png", "./a//1.png", "a/1.png/b.png", "a/1.png/b/c.png", "a"])
def test_first_member_of_a_name_wins(tmp_path, kind, second):
    members = (("a/1.png", b"first"), (second, b"second"))
    data = zip_bytes(*members) if kind == "zip" else tar_bytes(*members)
    files, findings = unpacked(tmp_path, f"a.{kind}", data)
    assert files == {"a/1.png": b"first"}
    assert [place for _, place in findings] == [second]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        pytest.param(ArchiveLimits(max_members=2), "more than 2 members", id="members"),
        pytest.param(ArchiveLimits(max_bytes=2000), "unpacks to more than 2e-06 GB", id="bytes"),
        pytest.param(ArchiveLimits(max_member_bytes=2000), "a file of more than 2e-06 GB", id="bytes of a file"),
    ],
)
def test_archive_beyond_a_limit_is_refused(tmp_path, kind, limits, words):
    data = zip_bytes(*FILES.items()) if kind == "zip" else tar_bytes(*FILES.items())
    assert words in refusal(tmp_path, f"a.{kind}", data, limits)


def test_archive_at_its_limits_is_unpacked(tmp_path):
    sizes = [len(data) for data in FILES.values()]
    limits = ArchiveLimits(max_members=3, max_bytes=sum(sizes), max_member_bytes=max(sizes))
    assert unpacked(tmp_path, "a.zip", zip_bytes(*FILES.items()), limits) == (dict(sorted(FILES.items())), [])


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        pytest.param("a.zip", lambda zeros: zip_bytes(("z.bmp", zeros), compression=zipfile.ZIP_BZIP2), id="zip"),
        pytest.param("a.tar.bz2", lambda zeros: bz2.compress(tar_bytes(("z.bmp", zeros))), id="tar.bz2"),
        pytest.param("a.tar.xz", lambda zeros: lzma.compress(tar_bytes(("z.bmp", zeros))), id="tar.xz"),
    ],
)
def test_bomb_is_refused_before_it_has_unpacked(tmp_path, name, pack):
    assert "more than 1000 times its size" in refusal(tmp_path, name, pack(bytes(30_000_000)))
    assert sum(map(len, files_below(tmp_path / "inside/folder").values())) < 15_000_000


def test_bomb_beside_honest_data_is_refused(tmp_path):
    data = zip_bytes(("noise.png", os.urandom(100_000)), ("z.bmp", bytes(30_000_000)), compression=zipfile.ZIP_BZIP2)
    assert "more than 1000 times" in refusal(tmp_path, "a.zip", data)


def test_well_compressed_small_file_is_no_bomb(tmp_path):
    files, findings = unpacked(tmp_path, "a.tar.xz", lzma.compress(tar_bytes(("z.bmp", bytes(9_000_000)))))
    assert (len(files["z.bmp"]), findings) == (9_000_000, [])


def test_bomb_of_many_small_files_is_refused(tmp_path):
    members = [(f"{number}.bmp", bytes(4_000_000)) for number in range(8)]
    assert "more than 1000 times" in refusal(tmp_path, "a.zip", zip_bytes(*members, compression=zipfile.ZIP_BZIP2))
    assert len(files_below(tmp_path / "inside/folder")) < 5


def test_directory_of_a_zip_is_counted_before_it_is_held(tmp_path):
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    entries = entry * 200_000
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entries), 0, 0)
    (tmp_path / "a.zip").write_bytes(entries + tail)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more than 1,000 members"):
            unpack(tmp_path / "a.zip", tmp_path / "out", ArchiveLimits(max_members=1000))
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_zip64_is_unpacked(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, archive.open("a.png", "w", force_zip64=True) as member:
        member.write(b"x")
    assert unpacked(tmp_path, "a.zip", stream.getvalue())[0] == {"a.png": b"x"}


def damaged_tars():
    whole = tar_bytes(("a.png", b"x" * 5000), ("b.png", b"y" * 5000))
    second = 512 + 5120
    negative = bytearray(tar_bytes(("a.png", b"x"), ("b.png", b"y")))
    negative[1024 + 124 : 1024 + 136] = b"\xff" * 10 + struct.pack(">h", -2048)
    checksum = sum(negative[1024 : 1024 + 148]) + 8 * 32 + sum(negative[1024 + 156 : 1536])
    negative[1024 + 148 : 1024 + 156] = f"{checksum:06o}\0 ".encode()
    yield pytest.param("a.tar", whole[:3000], id="cut in data")
    yield pytest.param("a.tar", whole[: second + 100], id="cut in a header")
    yield pytest.param("a.tar", whole[:second], id="cut between members")
    yield pytest.param("a.tar", whole[:second] + b"?" * 512 + whole[second + 512 :], id="header overwritten")
    yield pytest.param("a.tar", bytes(negative), id="size below zero")
    yield pytest.param("a.tar", b"no tar at all" * 100, id="text")
    yield pytest.param("a.tar", b"", id="empty file")
    yield pytest.param("a.tgz", gzip.compress(whole)[:-20], id="gzip cut")
    yield pytest.param("a.tar.gz", gzip.compress(whole)[:20] + b"\0" * 50, id="gzip overwritten")
    yield pytest.param("a.tar.bz2", bz2.compress(whole)[:-20], id="bzip2 cut")
    yield pytest.param("a.tar.xz", lzma.compress(whole)[:-20], id="xz cut")


@pytest.mark.parametrize(("name", "data"), list(damaged_tars()))
def test_damaged_tar_is_refused(tmp_path, name, data):
    assert "make it anew" in refusal(tmp_path, name, data)


def damaged_zips():
    whole = zip_bytes(("a.png", os.urandom(3000)))
    encrypted = bytearray(whole)
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    wrong = bytearray(whole)
    wrong[1000] ^= 0xFF
    foreign = bytearray(zip_bytes(("\u00e9.png", b"x")))
    place = foreign.index(b"\xc3\xa9", foreign.index(b"PK\x01\x02"))
    foreign[place : place + 2] = b"\xff\xff"
    unknown = bytearray(whole)
    for start in (8, whole.index(b"PK\x01\x02") + 10):
        unknown[start] = 99
    yield pytest.param(bytes(encrypted), "encrypted", id="encrypted")
    yield pytest.param(bytes(wrong), "damaged", id="wrong bytes")
    yield pytest.param(whole[:-30], "damaged", id="cut")
    yield pytest.param(bytes(foreign), "damaged", id="name is no UTF-8")
    yield pytest.param(bytes(unknown), "damaged", id="unknown compression")
    yield pytest.param(b"", "damaged", id="empty file")
    yield pytest.param(b"text" * 50, "damaged", id="text")


@pytest.mark.parametrize(("data", "words"), list(damaged_zips()))
def test_damaged_zip_is_refused(tmp_path, data, words):
    assert words in refusal(tmp_path, "a.zip", data)


def test_archive_that_is_gone_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone\.zip"):
        unpack(tmp_path / "gone.zip", tmp_path / "out", LIMITS)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        pytest.param(b"0" * 40_000_000, "a header of more than 1 MB", id="large"),
        pytest.param(b"1" * 500_000, "more than a hundred digits", id="digits"),
    ],
)
def test_header_that_would_take_memory_or_time_is_refused(tmp_path, payload, words):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(payload)
    stream = gzip.compress(info.tobuf() + payload + bytes(-len(payload) % 512 + 1024), 1)
    (tmp_path / "a.tgz").write_bytes(stream)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=words):
            unpack(tmp_path / "a.tgz", tmp_path / "out", LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_skipped_data_counts_too(tmp_path):
    data = gzip.compress(tar_bytes(("../a.bin", bytes(3_000_000))))
    limits = ArchiveLimits(max_members=10, max_bytes=1_000_000)
    assert "unpacks to more than" in refusal(tmp_path, "a.tgz", data, limits)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_no_fault_of_the_archive(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    (tmp_path / "a.zip").write_bytes(zip_bytes(("a.png", b"x")))
    with pytest.raises(EnvironmentFailed):
        unpack(tmp_path / "a.zip", tmp_path / "out", LIMITS)


def test_full_disk_is_no_fault_of_the_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(zip_bytes(("a.png", bytes(5000))))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(EnvironmentFailed, match="cannot be written to"):
            unpack(tmp_path / "a.zip", tmp_path / "out", LIMITS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@given(
    base=st.sampled_from([("a.zip", zip_bytes(*FILES.items())), ("a.tar", tar_bytes(*FILES.items()))]),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=12)), max_size=6),
    end=st.integers(0, 12_000),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_files_inside_or_one_sentence(tmp_path_factory, base, edits, end):
    name, whole = base
    data = bytearray(whole[:end])
    for place, piece in edits:
        data[place : place + len(piece)] = piece
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / name).write_bytes(data)
    with contextlib.suppress(DataError):
        unpack(folder / name, folder / "out", ArchiveLimits(max_bytes=1_000_000))
    assert {path.name for path in folder.iterdir()} == {name, "out"}
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
