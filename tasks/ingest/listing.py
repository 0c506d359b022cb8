"""List a source: which images it names, what it says of them, and what in it is of no use."""

import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tasks.annotations.annotated import AnnotatedImage
from tasks.annotations.references import ReferenceResolver, RewriteRule
from tasks.dataset.files import EXPORT_MARKER_NAME, EXPORTED_PICTURES_FOLDER
from tasks.dataset.findings import Finding
from tasks.errors import DataError, RequestError
from tasks.ingest.annotation_files import (
    AnnotationFiles,
    ReadingRules,
    base_of,
    find_annotation_files,
    read_annotation_files,
    recognise_annotation_file,
)
from tasks.ingest.layouts import Listing, has_valid_labels, list_folders
from tasks.ingest.sources import OpenedSource
from tasks.ingest.walk import walk_files
from tasks.vision.images import IMAGE_SUFFIXES

UNANNOTATED_FILE = "WARNING_UNANNOTATED_FILE"
_SPLITS_BY_WEIGHT = ("test", "validation", "train", "")


def list_source(source: OpenedSource, rewrite: Sequence[RewriteRule], rules: ReadingRules) -> Listing:
    """List a source in the layout or annotation format it is found to have.

    Raises:
        DataError: when it holds no labelled image.
        RequestError: when the images' folder was named, but there are no annotation files.
    """
    refs, odd = walk_files(source.root)
    beside = refs
    if source.folder != source.root:
        beside, odd_beside = walk_files(source.folder)
        odd = [*odd, *_not_below(source.root, source.folder, odd_beside)]
    found = _annotation_files(source, beside)
    listing = _list_annotated(source, found, refs, beside, rewrite, rules) if found else list_folders(refs)
    findings = [*source.findings, *odd]
    readable = (file for file in listing.files if file.source_ref not in source.unreadable)
    usable = tuple(file for file in readable if has_valid_labels(file, findings))
    findings += listing.findings
    if not usable:
        raise DataError(_nothing_found(source, listing, len(refs), findings))
    return replace(listing, files=usable, findings=tuple(findings))


def _list_annotated(
    source: OpenedSource,
    found: AnnotationFiles,
    refs: Sequence[PurePosixPath],
    beside: Sequence[PurePosixPath],
    rewrite: Sequence[RewriteRule],
    rules: ReadingRules,
) -> Listing:
    folder, root = source.folder, source.root
    resolver = ReferenceResolver(root, map(str, refs), [*rewrite, *source.rules])
    names, files = [str(ref) for ref in beside], [str(ref) for ref in refs]
    reading = read_annotation_files(found, folder, root, resolver, names, files, rules)
    images, repeated = _named_once(reading.images)
    findings = [*reading.findings, *repeated]
    findings += _unnamed(refs, images, findings)
    listing = Listing(found.format, tuple(images), tuple(findings))
    if found.format != "Ground Truth":
        return listing
    manifests = tuple(str(folder / ref) for ref in found.refs)
    row_files = tuple(posixpath.join(base_of(ref, folder, root), posixpath.basename(ref)) for ref in found.refs)
    return replace(listing, manifests=manifests, row_files=row_files)


def _not_below(root: Path, folder: Path, findings: Iterable[Finding]) -> list[Finding]:
    """Return what was found below `folder` and not below `root`, whose own walk finds that too."""
    return [finding for finding in findings if not (folder / finding.source_ref).is_relative_to(root)]


def _annotation_files(source: OpenedSource, refs: Sequence[PurePosixPath]) -> AnnotationFiles | None:
    if source.annotation_file is None:
        found = find_annotation_files(source.folder, refs)
        if found is None and source.folder != source.root:
            raise RequestError(
                f"{source.folder} holds no annotation files whose images could lie in data.image_root {source.root}; "
                "leave data.image_root empty, or name a source with annotation files"
            )
        return found
    found = recognise_annotation_file(source.annotation_file, source.folder)
    if found is None:
        raise DataError(
            f"{source.annotation_file} is no annotation file that can be read (Ground Truth manifest, COCO JSON, YOLO "
            "data.yaml, CSV with an image column) and no archive; name one of these, or a folder of images"
        )
    return found


def _named_once(images: Iterable[AnnotatedImage]) -> tuple[list[AnnotatedImage], list[Finding]]:
    kept: dict[str, AnnotatedImage] = {}
    findings = []
    # What is tested on must not be trained on.
    for image in sorted(images, key=lambda image: _SPLITS_BY_WEIGHT.index(image.given_split)):
        if image.source_ref in kept:
            split = kept[image.source_ref].given_split
            message = f"the image is annotated twice; the first annotation{split and f' for {split}'} is used, remove "
            message += "the others"
            findings.append(Finding(code="WARNING_DUPLICATE_SOURCE_REF", source_ref=image.source_ref, message=message))
        else:
            kept[image.source_ref] = image
    return [kept[ref] for ref in sorted(kept)], findings


def _unnamed(
    refs: Iterable[PurePosixPath], images: Sequence[AnnotatedImage], findings: Iterable[Finding]
) -> list[Finding]:
    named = {image.source_ref for image in images} | {image.mask_ref for image in images}
    # Of an image whose annotation cannot be used, that was said.
    named |= {finding.source_ref for finding in findings}
    refs = list(refs)
    # Contact sheets of an export are no images of it.
    sheets = EXPORTED_PICTURES_FOLDER if PurePosixPath(EXPORT_MARKER_NAME) in refs else ""
    images_only = (ref for ref in refs if ref.suffix.lower() in IMAGE_SUFFIXES and ref.parts[0] != sheets)
    strangers = [str(ref) for ref in images_only if str(ref) not in named]
    if not strangers:
        return []
    count = "1 image file is" if len(strangers) == 1 else f"{len(strangers)} image files are"
    message = f"{count} named by no annotation, this one first; annotate or remove them"
    return [Finding(code=UNANNOTATED_FILE, source_ref=strangers[0], message=message)]


def _nothing_found(source: OpenedSource, listing: Listing, files: int, findings: Sequence[Finding]) -> str:
    codes = Counter(finding.code for finding in findings if finding.code != UNANNOTATED_FILE)
    told = ", ".join(f"{code} {count}" for code, count in codes.most_common(5))
    if listing.layout in ("class folders", "split folders", "MVTec"):
        return (
            f"{source.root} holds no image in a folder named by its label (found {files} files); put the images of "
            f"each label into a folder of its own, as {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    first = next((f"; the first: {one.message}" for one in findings if one.code != UNANNOTATED_FILE), "")
    told = told or "they are empty"
    return f"the {listing.layout} annotations of {source.folder} name no usable image ({told}){first}"
