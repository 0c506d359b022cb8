"""From what the user names as a source to a readable folder, perhaps with an annotation file. Reads no image."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.annotations.annotated import SPLIT_BY_NAME
from tasks.annotations.csv_table import is_table
from tasks.dataset.findings import Finding, read_findings, write_findings
from tasks.errors import RequestError
from tasks.ingest.archives import ARCHIVE_SUFFIXES, ArchiveLimits, is_archive, unpack
from tasks.stores.content import ContentStore, StageKey

DEMO_SCHEME = "demo"
DEMO_VERSION = "1"
ARCHIVE_VERSION = "1"
MAC_FOLDER = "__MACOSX"
"""What macOS packs beside the files: hidden files that say how they looked."""
ANNOTATION_SUFFIXES = (".manifest", ".jsonl", ".json", ".yaml", ".yml", ".csv")
GENERIC_NAMES = frozenset({*SPLIT_BY_NAME, "annotations", "data", "labels", "manifest", "output"})


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """A source that can be read.

    Attributes:
        folder: absolute; where annotation files are looked for.
        root: absolute; what references are relative to and never leave.
        annotation_file: the one that was named; None when a folder or an archive was.
        findings: what was found while unpacking.
    """

    folder: Path
    root: Path
    annotation_file: Path | None = None
    findings: tuple[Finding, ...] = ()


def require_source(source: str) -> None:
    """Refuse a source that cannot be read, before anything is started.

    Raises:
        RequestError: when the source does not exist, or has a scheme that is not read.
    """
    if _scheme(source) == DEMO_SCHEME:
        from tasks.ingest.demo import parse_demo_source

        parse_demo_source(source)
    else:
        _local_path(source)


def open_source(source: str, store: ContentStore, image_root: str = "") -> OpenedSource:
    """Return the folder of a source; the demo set is painted, an archive unpacked, into the store at its first use.

    Raises:
        RequestError: as `require_source` does, or when `image_root` is no folder.
        DataError: when an archive cannot be unpacked.
    """
    if _scheme(source) == DEMO_SCHEME:
        painted = _painted(source, store)
        return OpenedSource(painted, painted)
    path = _local_path(source)
    root = _local_path(image_root) if image_root else None
    if root and not root.is_dir():
        raise RequestError(f"data.image_root {root} is a file; name the folder that holds the images")
    if path.is_dir():
        return OpenedSource(path, root or path)
    if is_archive(path):
        folder, findings = _unpacked(path, store)
        return OpenedSource(folder, root or folder, findings=findings)
    return OpenedSource(path.parent, root or path.parent, annotation_file=path)


def default_dataset_name(source: str) -> str:
    """Return a dataset name made from the last part of a source."""
    parts = urlsplit(source) if _scheme(source) else None
    if parts and parts.scheme == DEMO_SCHEME:
        from tasks.ingest.demo import DemoOptions, parse_demo_source

        # Sets of one seed share their pictures, sets of two seeds share none.
        seed = parse_demo_source(source).seed
        return parts.netloc if seed == DemoOptions().seed else f"{parts.netloc}-seed{seed}"
    path = Path(unquote(parts.path) if parts else source).expanduser().resolve()
    last = path.name
    if path.is_file():
        # A file named like every other of its kind is known by its folder.
        stem = last[: -len(_suffix(last))] if _suffix(last) else path.stem
        last = path.parent.name if stem.lower() in GENERIC_NAMES else stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-_.")[:64] or "images"


def _scheme(source: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    return found.group(1).lower() if found else ""


def _local_path(source: str) -> Path:
    scheme = _scheme(source)
    if scheme not in ("", "file"):
        raise RequestError(f"{source} has the scheme {scheme}://, which is not read; name a local path or demo://")
    try:
        path = Path(unquote(urlsplit(source).path) if scheme else source).expanduser()
        exists, is_folder = path.exists(), path.is_dir()
        str(path.resolve()).encode("utf-8")
    except (OSError, RuntimeError, ValueError) as error:
        shown = source.encode("utf-8", "backslashreplace").decode("utf-8")
        raise RequestError(f"{shown[:200]!r} cannot be used as a folder ({error}); name a folder of images") from error
    if not exists:
        raise RequestError(f"there is no folder or file {path} (seen from {Path.cwd()}); name a folder of images")
    if not is_folder and not path.name.lower().endswith((*ANNOTATION_SUFFIXES, *ARCHIVE_SUFFIXES)):
        raise RequestError(
            f"{path} is a file, but neither annotations ({', '.join(ANNOTATION_SUFFIXES)}) nor an archive; name the "
            "folder that holds the images"
        )
    if not os.access(path, os.R_OK | os.X_OK if is_folder else os.R_OK):
        raise RequestError(f"{path} may not be read by this user; change its permissions or name another folder")
    return path.resolve()


def _suffix(name: str) -> str:
    return next((suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), "")


def _unpacked(archive: Path, store: ContentStore) -> tuple[Path, tuple[Finding, ...]]:
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    key = StageKey(stage="archive", version=ARCHIVE_VERSION, inputs={"sha256": digest}, config={})
    if store.find(key) is None:
        with store.create(key) as folder:
            findings = unpack(archive, folder / "files", ArchiveLimits())
            write_findings(folder / "findings.jsonl", findings)
    entry = store.entry_path(key)
    inner = (entry / "files").resolve()
    # One folder that holds all is the source itself, as when a folder was packed; a folder of images is a label.
    while len(children := _visible(inner)) == 1 and any(map(_is_of_a_source, children[0].glob("*"))):
        inner = children[0]
    return inner, tuple(read_findings(entry / "findings.jsonl"))


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".") and path.name != MAC_FOLDER]


def _is_of_a_source(path: Path) -> bool:
    return path.is_dir() or is_table(path)


def _painted(source: str, store: ContentStore) -> Path:
    # Painting needs OpenCV; a request is refused without it.
    from tasks.ingest.demo import paint_demo, parse_demo_source

    options = parse_demo_source(source)
    key = StageKey(
        stage="demo",
        version=DEMO_VERSION,
        inputs={},
        config={"images": options.images, "seed": options.seed},
        libraries=("numpy", "opencv-python-headless"),
    )
    if store.find(key) is None:
        with store.create(key) as folder:
            paint_demo(folder / "transistors", options)
    return (store.entry_path(key) / "transistors").resolve()
