"""Pascal VOC: a set of XML files, one for each image, read and written.

Corners are pixels counted from 1, and the last pixel belongs to the box (VOC2012 development kit, "Annotation
files"). Many tools count from 0 instead and mean the edge right of the last pixel. No file tells which it follows, but
a corner at 0 does, for the whole set.
"""

import math
import posixpath
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from tasks.annotations.annotated import SPLIT_BY_NAME, AnnotatedImage, Reading, StatedBox
from tasks.annotations.losses import loss_findings, losses_of
from tasks.annotations.names import distinct_names, renaming_findings
from tasks.annotations.references import ReferenceResolver, RefusedReference
from tasks.annotations.voc_xml import UnusableFile, VocFile, parse_voc, voc_document
from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.errors import DataError
from tasks.vision.images import IMAGE_SUFFIXES

ANNOTATION_FOLDER = "Annotations"
IMAGE_FOLDER = "JPEGImages"
SETS_FOLDER = "ImageSets/Main"
SET_NAMES: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}
MAX_SET_BYTES = 100_000_000
# A stem in several sets belongs to the last of them here, so that no test image is trained on.
_SETS_BY_WEIGHT = ("trainval", "train", "val", "test")
_UNBOXED = "none of its objects gives a box, so it is left out: it shows objects, and is no negative; repair them"
_ZERO_BASED = "a box begins at pixel 0, so all files are read as counted from 0 and half-open; look whether boxes fit"


def find_voc(files: Collection[str]) -> list[str]:
    """Return the XML files that stand in a folder `Annotations`, or beside an image of the same stem; sorted."""
    pictured = {_without_suffix(ref) for ref in files if _is_image(ref)}
    xml_refs = (ref for ref in files if ref.lower().endswith(".xml"))
    return sorted(ref for ref in xml_refs if _annotation_depth(ref) >= 0 or _without_suffix(ref) in pictured)


def read_image_sets(root: Path, files: Collection[str]) -> dict[str, Split]:
    """Return the split of each stem that `ImageSets/Main/{train,val,test,trainval}.txt` lists.

    A stem in several sets is a test image before a validation image before a training image.

    Args:
        root: folder of the files.
        files: references of all files below it.

    Raises:
        DataError: when an image set cannot be read or is larger than 100 MB.
    """
    splits: dict[str, Split] = {}
    for name in _SETS_BY_WEIGHT:
        ending = f"/{SETS_FOLDER}/{name}.txt".lower()
        for ref in sorted(ref for ref in files if f"/{ref}".lower().endswith(ending)):
            splits.update(dict.fromkeys(_listed_stems(root / ref), SPLIT_BY_NAME.get(name, "train")))
    return splits


def read_voc(
    xml_refs: Sequence[str], root: Path, resolver: ReferenceResolver, splits: Mapping[str, Split] | None = None
) -> Reading:
    """Read annotation files, one for each image.

    Objects marked difficult are boxes like others. An image none of whose objects can be used is left out, because
    without boxes it would be a negative.

    Args:
        xml_refs: annotation files, relative to `root`.
        root: folder of the annotation files.
        resolver: finds their images.
        splits: split of each stem, as `read_image_sets` returns it; a path below `Annotations` counts as a stem.
    """
    findings: list[Finding] = []
    files = dict(_usable_files(xml_refs, root, findings))
    zero_based = next((ref for ref, file in files.items() if _counts_from_zero(file)), "")
    find_image = _image_finder(resolver)
    images = []
    for xml_ref, file in files.items():
        boxes, problems = _stated_boxes(file, is_zero_based=bool(zero_based))
        try:
            image_ref = find_image(xml_ref, file.filename)
        except RefusedReference as error:
            findings.append(_finding(error.code, xml_ref, str(error)))
            continue
        for problem in (*file.problems, *problems):
            findings.append(_finding("ERROR_INVALID_ANNOTATION", image_ref, f"{xml_ref}: {problem}"))
        if file.objects and not boxes:
            findings.append(_finding("ERROR_NO_VALID_ANNOTATIONS", image_ref, _UNBOXED))
            continue
        image = AnnotatedImage(
            source_ref=image_ref,
            boxes=boxes,
            given_split=_split_of(xml_ref, splits or {}),
            stated_width=file.width,
            stated_height=file.height,
        )
        images.append(image)
    return Reading(tuple(images), (*findings, *_findings_of_the_set(files, zero_based)))


def write_voc(
    folder: Path,
    divided: Mapping[Split, Sequence[ImageEntry]],
    place_image: Callable[[ImageEntry, Path], None],
) -> list[Finding]:
    """Write `Annotations/REF.xml`, `JPEGImages/REF` and `ImageSets/Main/{train,val,test}.txt`.

    REF is the image's path below its root, or another name where two would share one. An image whose boxes nobody
    looked for is left out: without objects it would be a negative.

    Args:
        folder: where to write.
        divided: images of each split.
        place_image: puts an image's file at a path, whose folder is there.

    Returns:
        A finding for each image that got another name, and one for each kind of thing that the format cannot hold.
    """
    entries = [entry for split in SPLITS for entry in divided.get(split, ()) if entry.truth.boxes is not None]
    names = distinct_names(entries)
    for entry in entries:
        path = PurePosixPath(IMAGE_FOLDER, names[entry.sha256])
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        place_image(entry, folder / path)
        xml_path = folder / ANNOTATION_FOLDER / f"{_without_suffix(names[entry.sha256])}.xml"
        _write_text(xml_path, voc_document(entry, path))
    for split in (split for split in SPLITS if split in divided):
        listed = [names[entry.sha256] for entry in divided[split] if entry.sha256 in names]
        text = "".join(f"{_without_suffix(name)}\n" for name in listed)
        _write_text(folder / SETS_FOLDER / f"{SET_NAMES[split]}.txt", text)
    losses = Counter(loss for split in SPLITS for entry in divided.get(split, ()) for loss in _losses_of(entry))
    return renaming_findings(entries, names) + loss_findings(losses, "Pascal VOC", ANNOTATION_FOLDER)


def _usable_files(xml_refs: Iterable[str], root: Path, findings: list[Finding]) -> Iterator[tuple[str, VocFile]]:
    for ref in xml_refs:
        try:
            yield ref, parse_voc(root / ref)
        except UnusableFile as error:
            message = f"the file {error}; repair it, or remove it if it is no Pascal VOC annotation"
            findings.append(_finding("ERROR_INVALID_ANNOTATION_FILE", ref, message))


def _counts_from_zero(file: VocFile) -> bool:
    return any(0 <= corner < 1 for corners in file.corners for corner in (corners.xmin, corners.ymin))


def _stated_boxes(file: VocFile, *, is_zero_based: bool) -> tuple[tuple[StatedBox, ...], list[str]]:
    """Return half-open boxes, and a sentence for each that is empty."""
    one = 0 if is_zero_based else 1
    boxes, problems = [], []
    for corners in file.corners:
        width, height = corners.xmax - corners.xmin + one, corners.ymax - corners.ymin + one
        if 0 < width < math.inf and 0 < height < math.inf:
            boxes.append(StatedBox(corners.label, corners.xmin - one, corners.ymin - one, width, height))
        else:
            size = f"{width:g} x {height:g} pixels"
            problems.append(f"object {corners.object_number} has no box of a size ({size}); repair or remove it")
    return tuple(boxes), problems


def _image_finder(resolver: ReferenceResolver) -> Callable[[str, str], str]:
    """Return what finds the image of an annotation file from the file's path and the name that it states."""
    by_place: dict[str, str] = {}
    by_stem: dict[str, str] = {}
    for ref in sorted(filter(_is_image, resolver.files)):
        by_place.setdefault(_without_suffix(ref), ref)
        stem = PurePosixPath(ref).stem
        by_stem[stem] = "" if stem in by_stem else ref

    def find(xml_ref: str, filename: str) -> str:
        folders = _image_folders(xml_ref)
        stem = PurePosixPath(xml_ref).stem
        stated = [posixpath.normpath(posixpath.join(folder, filename)) for folder in folders]
        by_xml_stem = [by_place.get(posixpath.join(folder, stem), "") for folder in folders]
        try:
            resolved, refusal = resolver.resolve(filename, folders[0]), None
        except RefusedReference as error:
            resolved, refusal = "", error
        for candidate in (*stated, resolved, *by_xml_stem, by_stem.get(stem, "")):
            if candidate in resolver.files:
                return candidate
        if refusal:
            raise refusal
        return resolved

    return find


def _image_folders(xml_ref: str) -> list[str]:
    """Folders where an annotation file's image may lie, the likeliest first: beside it, or in `JPEGImages`."""
    folders = PurePosixPath(xml_ref).parent.parts
    depth = _annotation_depth(xml_ref)
    above, below = (folders[:depth], folders[depth + 1 :]) if depth >= 0 else (folders[:-1], ())
    places = [folders]
    for name in (IMAGE_FOLDER, "images"):
        places += [(*above, name, *below), (*above, name)]
    return list(dict.fromkeys("/".join(parts) for parts in places))


def _annotation_depth(ref: str) -> int:
    folders = [name.lower() for name in PurePosixPath(ref).parent.parts]
    name = ANNOTATION_FOLDER.lower()
    return folders.index(name) if name in folders else -1


def _split_of(xml_ref: str, splits: Mapping[str, Split]) -> Split | Literal[""]:
    path = PurePosixPath(xml_ref)
    below = "/".join(path.parts[_annotation_depth(xml_ref) + 1 :])
    return splits.get(_without_suffix(below), splits.get(path.stem, ""))


def _listed_stems(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > MAX_SET_BYTES:
            raise DataError(f"the image set {path} is larger than {MAX_SET_BYTES // 1_000_000} MB; shorten it")
        with path.open("rb") as stream:
            for line in stream:
                stem = line.decode("utf-8-sig", "replace").strip()
                if stem:
                    yield _without_suffix(stem) if _is_image(stem) else stem
    except OSError as error:
        raise DataError(f"the image set {path} cannot be read ({error.strerror}); repair or remove it") from error


def _is_image(ref: str) -> bool:
    return PurePosixPath(ref).suffix.lower() in IMAGE_SUFFIXES


def _without_suffix(ref: str) -> str:
    return posixpath.splitext(ref)[0]


def _losses_of(entry: ImageEntry) -> Iterator[str]:
    boxes = entry.truth.boxes or ()
    yield from losses_of(entry, {box.label for box in boxes})
    if any(box.confidence != 1 for box in boxes):
        yield "lose the confidences of their boxes"
    if any(box.label != box.label.strip() for box in boxes):
        yield "lose the spaces around their boxes' labels"
    if entry.creation_date:
        yield "lose the date of their annotation"


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _finding(code: str, source_ref: str, message: str) -> Finding:
    return Finding(code=code, source_ref=source_ref, message=message)


def _findings_of_the_set(files: Mapping[str, VocFile], zero_based: str) -> Iterator[Finding]:
    if zero_based:
        yield _finding("WARNING_ZERO_BASED_BOXES", zero_based, _ZERO_BASED)
    flagged = {ref: file.flagged_objects for ref, file in files.items() if file.flagged_objects}
    if flagged:
        message = (
            f"{sum(flagged.values())} objects of {len(flagged)} files are difficult, truncated, occluded or have a "
            "pose, which is not kept; their boxes are used like others, so remove those that should not count"
        )
        yield _finding("WARNING_NOT_IN_FORMAT", next(iter(flagged)), message)
