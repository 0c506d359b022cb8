"""From what the user names as a source to a readable folder, perhaps with an annotation file. Decodes no image."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tasks.annotations.annotated import ANNOTATION_SUFFIXES, SPLIT_BY_NAME
from tasks.annotations.csv_table import is_table
from tasks.annotations.references import RewriteRule
from tasks.dataset.findings import Finding, read_findings, write_findings
from tasks.errors import RequestError, SourceChanged
from tasks.ground_truth.read import is_blank_manifest, is_manifest
from tasks.ingest.archives import ARCHIVE_SUFFIXES, ArchiveLimits, is_archive, unpack
from tasks.ingest.object_sources import (
    fetch_file,
    fetch_folder,
    fetch_named,
    names_a_file,
    require_images,
    require_objects,
)
from tasks.stores.content import ContentStore, StageKey
from tasks.stores.s3_objects import ObjectPlace, Report, is_object_address

DEMO_SCHEME = "demo"
DEMO_VERSION = "1"
ARCHIVE_VERSION = "1"
MAC_FOLDER = "__MACOSX"
"""What macOS packs beside the files: hidden files that say how they looked."""
GENERIC_NAMES = frozenset({*SPLIT_BY_NAME, "annotations", "data", "labels", "manifest", "output"})


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """A source that can be read.

    Attributes:
        folder: absolute; where annotation files are looked for.
        root: absolute; what references are relative to and never leave.
        annotation_file: the one that was named; None when a folder or an archive was.
        findings: what was found while unpacking or fetching.
        objects: the folder in an object store from where the files below the root came.
        is_partial: whether those that a manifest names are still there; `with_images` fetches them.
    """

    folder: Path
    root: Path
    annotation_file: Path | None = None
    findings: tuple[Finding, ...] = ()
    objects: ObjectPlace | None = None
    is_partial: bool = False

    @property
    def rules(self) -> tuple[RewriteRule, ...]:
        """How addresses of objects below the root become paths."""
        return (RewriteRule(str(self.objects), f"{self.root}/", of_objects=True),) if self.objects else ()

    @property
    def unreadable(self) -> frozenset[str]:
        """References of files that are not below the root because of an error."""
        return frozenset(finding.source_ref for finding in self.findings if finding.severity == "error")


def require_source(source: str) -> None:
    """Refuse a source that cannot be read, before anything is started.

    Raises:
        RequestError: when the source does not exist, or has a scheme that is not read.
        EnvironmentFailed: when it is in an object store that does not answer.
    """
    if _scheme(source) == DEMO_SCHEME:
        from tasks.ingest.demo import parse_demo_source

        parse_demo_source(source)
    elif is_object_address(source):
        require_objects(source)
    else:
        _local_path(source)


def open_source(
    source: str, store: ContentStore, image_root: str = "", report: Report = lambda done, total: None
) -> OpenedSource:
    """Return the folder of a source; at its first use the demo set is painted, an archive unpacked into the store.

    What lies in an object store is fetched, `report` called meanwhile; of the images that a manifest names, none.

    Raises:
        RequestError: as `require_source` does, or when `image_root` is no folder, or none that can be read.
        DataError: when an archive cannot be unpacked, or objects were replaced while they were fetched.
        EnvironmentFailed: when an object store does not answer.
    """
    if _scheme(source) == DEMO_SCHEME:
        painted = _painted(source, store)
        return OpenedSource(painted, painted)
    opened = (
        _opened_objects(source, store, report) if is_object_address(source) else _opened(_local_path(source), store)
    )
    return _with_root(opened, image_root, store, report) if image_root else opened


def with_images(opened: OpenedSource, refs: Iterable[str], store: ContentStore, report: Report) -> OpenedSource:
    """Return a partial source with the images (and masks) that its manifest names, in a folder of their own.

    Raises:
        SourceChanged: when the manifest or an image was replaced meanwhile.
        EnvironmentFailed: when the store does not answer.
    """
    manifest, place = opened.annotation_file, opened.objects
    if manifest is None or place is None:
        return opened
    own = manifest.relative_to(opened.root).as_posix() if manifest.is_relative_to(opened.root) else ""
    root, findings = fetch_named(place, store, sorted({*refs, own} - {""}), report)
    findings = (*opened.findings, *findings)
    if not own:
        return replace(opened, root=root, findings=findings, is_partial=False)
    if not (root / own).is_file() or (root / own).read_bytes() != manifest.read_bytes():
        raise SourceChanged(f"{place.below(own)} was replaced while it was read; start the run again")
    return OpenedSource(root, root, root / own, findings, place)


def default_dataset_name(source: str) -> str:
    """Return a dataset name made from the last part of a source."""
    if _scheme(source) == DEMO_SCHEME:
        from tasks.ingest.demo import DemoOptions, parse_demo_source

        # Sets of one seed share their pictures, sets of two seeds share none.
        name, seed = urlsplit(source).netloc, parse_demo_source(source).seed
        return name if seed == DemoOptions().seed else f"{name}-seed{seed}"
    last, above, is_file = _last_parts(source)
    if is_file:
        # A file named like every other of its kind is known by its folder.
        stem = last[: -len(_suffix(last))] if _suffix(last) else PurePosixPath(last).stem
        last = above if stem.lower() in GENERIC_NAMES else stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-_.")[:64] or "images"


def _last_parts(source: str) -> tuple[str, str, bool]:
    """Return a source's own name, that of the folder above it, and whether it is a file."""
    if is_object_address(source):
        place = ObjectPlace.parse(source)
        return place.name or place.bucket, place.parent.name or place.bucket, names_a_file(place)
    path = Path(unquote(urlsplit(source).path) if _scheme(source) else source).expanduser().resolve()
    return path.name, path.parent.name, path.is_file()


def _opened(path: Path, store: ContentStore) -> OpenedSource:
    if path.is_dir():
        return OpenedSource(path, path)
    if is_archive(path):
        folder, findings = _unpacked(path, store)
        return OpenedSource(folder, folder, findings=findings)
    return OpenedSource(path.parent, path.parent, annotation_file=path)


def _opened_objects(source: str, store: ContentStore, report: Report) -> OpenedSource:
    place = ObjectPlace.parse(source)
    if not names_a_file(place):
        folder, findings = fetch_folder(place.folder, store, report)
        return OpenedSource(folder, folder, findings=findings, objects=place.folder)
    file = fetch_file(place, store)
    if is_archive(file):
        return _opened(file, store)
    if is_manifest(file) or is_blank_manifest(file):
        # Its lines may name any object of its own bucket, and none of another.
        bucket = ObjectPlace(place.bucket, "")
        root, findings = fetch_named(bucket, store, [place.key])
        return OpenedSource(root, root, root / place.key, findings, bucket, is_partial=True)
    folder, findings = fetch_folder(place.parent, store, report)
    return OpenedSource(folder, folder, folder / place.name, findings, place.parent)


def _with_root(opened: OpenedSource, image_root: str, store: ContentStore, report: Report) -> OpenedSource:
    if not is_object_address(image_root):
        root = _local_path(image_root)
        if not root.is_dir():
            raise RequestError(f"data.image_root {root} is a file; name the folder that holds the images")
        return replace(opened, root=root, objects=None, is_partial=False)
    place = ObjectPlace.parse(image_root).folder
    if opened.annotation_file and is_manifest(opened.annotation_file):
        require_images(place)
        root, _ = fetch_named(place, store, ())
        return replace(opened, root=root, objects=place, is_partial=True)
    root, findings = fetch_folder(place, store, report)
    return replace(opened, root=root, findings=(*opened.findings, *findings), objects=place, is_partial=False)


def _scheme(source: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    return found.group(1).lower() if found else ""


def _local_path(source: str) -> Path:
    scheme = _scheme(source)
    if scheme not in ("", "file"):
        raise RequestError(
            f"{source} has the scheme {scheme}://, which is not read; name a local path, s3:// or demo://"
        )
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
