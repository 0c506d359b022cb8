"""YOLO: a text file of boxes for each image, and a data.yaml with classes and splits, read and written.

A line is `class x y width height` (centre and size) or `class x1 y1 x2 y2 x3 y3 ...` (an outline), all in fractions of
the image's sides. Format: https://docs.ultralytics.com/datasets/detect/ and ../segment/.
"""

import math
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from tasks.annotations.annotated import AnnotatedImage, Reading, StatedBox
from tasks.annotations.losses import loss_findings, losses_of
from tasks.annotations.names import distinct_names, renaming_findings
from tasks.annotations.references import ReferenceResolver
from tasks.annotations.yolo_layout import (
    MAX_YAML_BYTES,
    Source,
    class_names,
    is_image,
    label_ref_of,
    load_yaml,
    read_bounded,
    split_by_image,
)
from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.errors import DataError

SPLIT_KEYS: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}
MAX_LABEL_BYTES = 10_000_000
MAX_LABEL_LINES = 10_000
MAX_FRACTION = 1e6

_NAMES_LINE = re.compile(rb"""^['"]?names['"]?\s*:""", re.MULTILINE)
_IMAGES_LINE = re.compile(rb"""^['"]?(train|val|test|path)['"]?\s*:""", re.MULTILINE)
_USUAL_NAMES = ("data.yaml", "data.yml")
_CLASS_LIST = "classes.txt"
"""What labelling tools put beside their label files."""
_BOX_COLUMNS = 5
_FEWEST_OUTLINE_COLUMNS = 7
_SHOWN_CHARACTERS = 40


class _UnusableLabels(Exception):
    """A line or file that gives no boxes. `code` is the finding it becomes; the message continues "line 3: "."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code


def find_data_yaml(root: Path, files: Collection[str]) -> str:
    """Return the YAML file that has `names` and one of train, val, test, path at the start of lines; empty if none.

    A look without trust; only `read_yolo` knows. The file nearest to the root is taken, `data.yaml` before others.

    Args:
        root: folder of the files.
        files: references of all files below it.
    """
    candidates = [ref for ref in files if ref.lower().endswith((".yaml", ".yml"))]
    for ref in sorted(candidates, key=lambda ref: (ref.count("/"), posixpath.basename(ref) not in _USUAL_NAMES, ref)):
        try:
            data = read_bounded(root / ref, MAX_YAML_BYTES)
        except OSError:
            continue
        if _NAMES_LINE.search(data) and _IMAGES_LINE.search(data):
            return ref
    return ""


def read_yolo(data_yaml: Path, root: Path, files: Collection[str], resolver: ReferenceResolver) -> Reading:
    """Read the images of all splits with their boxes; an image without label file, or with an empty one, is negative.

    Where lines are stated and none can be used, the image's boxes are unknown: it is no true negative. An image of
    several splits is a test image before a validation image before a training image.

    Args:
        data_yaml: the file that names classes and splits.
        root: folder of the files.
        files: references of all files below it; no other is opened.
        resolver: finds images and folders.

    Raises:
        DataError: when data.yaml cannot be read, names no classes or no images, or describes key points, and when no
            image at all has a label file.
    """
    yaml_ref = data_yaml.relative_to(root).as_posix() if data_yaml.is_relative_to(root) else data_yaml.name
    document = load_yaml(data_yaml, yaml_ref)
    findings: list[Finding] = []
    names = class_names(document, yaml_ref, findings)
    source = Source(root, sorted(files), frozenset(files), resolver)
    splits = split_by_image(document, yaml_ref, source, findings)
    label_refs = {image_ref: label_ref_of(image_ref) for image_ref in splits}
    if label_refs and source.files.isdisjoint(label_refs.values()):
        missing = next(iter(label_refs.values()))
        raise DataError(f"none of {len(splits)} images of {yaml_ref} has a label file, such as {missing}; add them")
    images, outlines = [], 0
    for image_ref, split in splits.items():
        boxes, drawn = _read_labels(image_ref, label_refs[image_ref], source, names, findings)
        images.append(AnnotatedImage(image_ref, boxes=boxes, given_split=split))
        outlines += drawn
    if outlines:
        message = f"{outlines} lines of label files are outlines, of which only the boxes are used"
        findings.append(Finding(code="WARNING_SEGMENTATION_AS_BOXES", source_ref=yaml_ref, message=message))
    return Reading(tuple(images), (*findings, *_lonely_label_findings(label_refs.values(), source)))


def write_yolo(
    folder: Path,
    divided: Mapping[Split, Sequence[ImageEntry]],
    labels: Sequence[str],
    place_image: Callable[[ImageEntry, Path], None],
) -> list[Finding]:
    """Write `images/SPLIT/REF`, `labels/SPLIT/REF.txt` and `data.yaml`; SPLIT is train, val or test.

    REF is the image's path below its root, or another name where two of a split would share one. Fractions have 8
    decimals: read back and rounded, they are the same pixels in any image of up to 20,000. Images whose boxes are None
    are left out.

    Args:
        folder: where to write.
        divided: images of each split.
        labels: classes, in the order of their numbers; boxes of others are left out.
        place_image: puts an image's file at a path, whose folder is there.

    Returns:
        A finding for each image that got another name, and one for each kind of thing that the format cannot hold.
    """
    class_ids = {label: number for number, label in enumerate(labels)}
    findings: list[Finding] = []
    losses: Counter[str] = Counter()
    used = [split for split in SPLITS if divided.get(split)]
    for split in used:
        losses.update(loss for entry in divided[split] for loss in _losses_of(entry, class_ids))
        known = [entry for entry in divided[split] if entry.truth.boxes is not None]
        names = distinct_names(known)
        findings += renaming_findings(known, names)
        for entry in known:
            image_ref = f"images/{SPLIT_KEYS[split]}/{names[entry.sha256]}"
            image, label_file = folder / image_ref, folder / label_ref_of(image_ref)
            for path in (image, label_file):
                path.parent.mkdir(parents=True, exist_ok=True)
            place_image(entry, image)
            label_file.write_bytes("".join(_label_lines(entry, class_ids)).encode())
    document: dict[str, object] = {SPLIT_KEYS[split]: f"images/{SPLIT_KEYS[split]}" for split in used}
    document |= {"nc": len(class_ids), "names": {number: label for label, number in class_ids.items()}}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=math.inf)
    (folder / "data.yaml").write_bytes(text.encode())
    return findings + loss_findings(losses, "YOLO", "data.yaml")


def _losses_of(entry: ImageEntry, labels: Collection[str]) -> Iterator[str]:
    yield from losses_of(entry, labels)
    if any(box.confidence != 1.0 for box in entry.truth.boxes or ()):
        yield "lose the confidences of their boxes"
    if entry.creation_date and entry.truth.boxes is not None:
        yield "lose the date of their annotation"


def _label_lines(entry: ImageEntry, class_ids: Mapping[str, int]) -> Iterator[str]:
    for box in entry.truth.boxes or ():
        if box.label in class_ids:
            x, width = _fractions(box.left, box.width, entry.width)
            y, height = _fractions(box.top, box.height, entry.height)
            yield f"{class_ids[box.label]} {x} {y} {width} {height}\n"


def _fractions(start: int, length: int, side: int) -> tuple[str, str]:
    return f"{(start + length / 2) / side:.8f}", f"{length / side:.8f}"


def _read_labels(
    image_ref: str, label_ref: str, source: Source, names: Mapping[int, str], findings: list[Finding]
) -> tuple[tuple[StatedBox, ...] | None, int]:
    """Return an image's boxes, and how many of them are drawn around outlines."""
    if label_ref not in source.files:
        return (), 0
    boxes, outlines, problems = [], 0, 0
    for number, line in enumerate(_lines(source.root / label_ref), start=1):
        try:
            if isinstance(line, _UnusableLabels):
                raise line
            if cells := line.decode("utf-8-sig", "replace").split():
                boxes.append(_read_line(cells, names))
                outlines += len(cells) > _BOX_COLUMNS
        except _UnusableLabels as error:
            problems += 1
            message = f"line {number} of {label_ref}: {error}"
            findings.append(Finding(code=error.code, source_ref=image_ref, message=message))
    return None if problems and not boxes else tuple(boxes), outlines


def _lines(path: Path) -> Iterable[bytes | _UnusableLabels]:
    try:
        lines = read_bounded(path, MAX_LABEL_BYTES).split(b"\n")
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror or error}"
        return [_UnusableLabels("ERROR_UNREADABLE_FILE", problem)]
    if len(lines) > MAX_LABEL_LINES:
        problem = f"the file has more than {MAX_LABEL_LINES:,} lines, and none is used; divide the image"
        return [_UnusableLabels("ERROR_TOO_MANY_BOUNDING_BOXES", problem)]
    return lines


def _read_line(cells: Sequence[str], names: Mapping[int, str]) -> StatedBox:
    is_outline = len(cells) >= _FEWEST_OUTLINE_COLUMNS and len(cells) % 2
    if len(cells) != _BOX_COLUMNS and not is_outline:
        problem = f"it has {len(cells)} columns; a box has {_BOX_COLUMNS}, an outline an odd number from 7 on"
        raise _UnusableLabels("ERROR_INVALID_BOUNDING_BOX", problem)
    label = _label_of(cells[0], names)
    numbers = [_fraction(cell) for cell in cells[1:]]
    if is_outline:
        left, top = min(numbers[0::2]), min(numbers[1::2])
        width, height = max(numbers[0::2]) - left, max(numbers[1::2]) - top
    else:
        x, y, width, height = numbers
        left, top = x - width / 2, y - height / 2
    if width <= 0 or height <= 0:
        raise _UnusableLabels("ERROR_INVALID_BOUNDING_BOX", "its box is empty; draw it again")
    return StatedBox(label, left, top, width, height, is_relative=True)


def _label_of(cell: str, names: Mapping[int, str]) -> str:
    number = _fraction(cell)
    label = names.get(int(number)) if number.is_integer() else None
    if label is None:
        problem = f"its class {cell[:_SHOWN_CHARACTERS]!r} is none of data.yaml's names; add the class or correct it"
        raise _UnusableLabels("ERROR_MISSING_CLASS_MAP_ID", problem)
    return label


def _fraction(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not abs(number) <= MAX_FRACTION:
        raise _UnusableLabels("ERROR_INVALID_BOUNDING_BOX", f"{cell[:_SHOWN_CHARACTERS]!r} is no number; correct it")
    return number


def _lonely_label_findings(label_refs: Iterable[str], source: Source) -> Iterator[Finding]:
    """Report label files that no image goes with, in the folders that label files were looked for in."""
    folders = {posixpath.dirname(ref) for ref in label_refs}
    paired = {label_ref_of(ref) for ref in source.refs if is_image(ref)}
    for ref in source.refs:
        folder, name = posixpath.split(ref)
        if folder in folders and name.endswith(".txt") and name != _CLASS_LIST and ref not in paired:
            message = "no image goes with this label file; add the image or remove the file"
            yield Finding(code="WARNING_LABELS_WITHOUT_IMAGE", source_ref=ref, message=message)
