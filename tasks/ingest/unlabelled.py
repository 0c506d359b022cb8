"""List the images of a source whatever is said of them: what is to be predicted needs no label. Opens no image."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from tasks.annotations.references import ReferenceResolver, RefusedReference, RewriteRule
from tasks.dataset.findings import Finding
from tasks.errors import DataError, RequestError
from tasks.ground_truth.read import is_blank_manifest, is_manifest
from tasks.ground_truth.stream import read_lines
from tasks.ingest.layouts import MASK_FOLDER
from tasks.ingest.records import ListedImage
from tasks.ingest.sources import OpenedSource
from tasks.ingest.walk import walk_files
from tasks.vision.images import IMAGE_SUFFIXES


def list_unlabelled(source: OpenedSource, rewrite: Sequence[RewriteRule]) -> tuple[list[ListedImage], list[Finding]]:
    """Return all images of a source, sorted, each once; and a finding for what cannot be one of them.

    Of a folder (or an archive) these are all files named like images, of a manifest those that its lines name,
    whatever else the lines say.

    Raises:
        RequestError: when an images' folder was named for a source without references.
        DataError: when the file that was named is no manifest.
    """
    refs, findings = walk_files(source.root)
    if source.annotation_file is not None:
        images, refused = _of_manifest(
            source, ReferenceResolver(source.root, map(str, refs), [*rewrite, *source.rules])
        )
    elif source.folder != source.root:
        raise RequestError("images.image_root is for the references of a manifest; leave it empty for a folder")
    else:
        images, refused = _of_folder(refs)
        refused += findings
    readable = [image for image in images if image.source_ref not in source.unreadable]
    return sorted(readable, key=lambda image: image.source_ref), [*source.findings, *refused]


def _of_folder(refs: Sequence[PurePosixPath]) -> tuple[list[ListedImage], list[Finding]]:
    tops = {ref.parts[0] for ref in refs if len(ref.parts) > 1}
    # In the MVTec layout the masks lie beside the images, and look like some.
    masks = MASK_FOLDER if {"train", "test", MASK_FOLDER} <= tops else ""
    kinds: dict[str, list[str]] = {"image": [], "mask": [], "other": []}
    for ref in refs:
        kind = "mask" if masks and ref.parts[0] == masks else "image"
        kinds[kind if ref.suffix.lower() in IMAGE_SUFFIXES else "other"].append(str(ref))
    findings = [
        *_passed_over(kinds["mask"], "lies among the masks of the MVTec layout"),
        *_passed_over(kinds["other"], "has no name that ends like an image; rename it if it is one"),
    ]
    return [ListedImage(ref) for ref in kinds["image"]], findings


def _passed_over(refs: Sequence[str], why: str) -> Iterator[Finding]:
    """Yield one finding for all: a folder may hold as many other files as images."""
    if refs:
        more = f"; {len(refs) - 1} more like it" if len(refs) > 1 else ""
        yield Finding(code="WARNING_IGNORED_FILE", source_ref=refs[0], message=f"the file {why}{more}")


def _of_manifest(source: OpenedSource, resolver: ReferenceResolver) -> tuple[Iterable[ListedImage], list[Finding]]:
    path = source.annotation_file
    if path is None or is_blank_manifest(path) or not is_manifest(path):
        raise DataError(
            f"{path} is no Ground Truth manifest with images; name one, a folder of images or an archive of it"
        )
    images: dict[str, ListedImage] = {}
    findings: list[Finding] = []
    for number, line in enumerate(read_lines(path, "open"), start=1):
        if not line.source_ref:
            findings += [_of_line(path.name, number, one.code, one.message) for one in line.problems]
            continue
        try:
            ref = resolver.resolve(line.source_ref)
        except RefusedReference as refused:
            # The resolver speaks of the request of a training.
            message = str(refused).replace("data.", "images.")
            findings.append(_of_line(line.source_ref, number, refused.code, message))
            continue
        if ref in images:
            message = "the image has another line before, and is predicted once"
            findings.append(_of_line(ref, number, "WARNING_DUPLICATE_SOURCE_REF", message))
        images.setdefault(ref, ListedImage(ref, line.source_ref))
    return images.values(), findings


def _of_line(source_ref: str, number: int, code: str, message: str) -> Finding:
    return Finding(code=code, source_ref=source_ref, message=f"line {number}: {message}")
