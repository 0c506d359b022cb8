"""One Pascal VOC annotation file: XML to corners, and an image's truth to XML. Knows no image and no other file."""

import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError, SubElement, TreeBuilder, indent, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from tasks.annotations.annotated import MAX_LABEL_CHARACTERS
from tasks.dataset.entries import ImageEntry
from tasks.vision.boxes import BoundingBox

MAX_XML_BYTES = 5_000_000
MAX_ELEMENTS = 100_000
_SHOWN_CHARACTERS = 50


class UnusableFile(Exception):
    """A file that is no annotation. The message is what follows on "the file"."""


@dataclass(frozen=True, slots=True)
class Corners:
    """An object's box as its file states it, in pixels; which convention it follows the set must tell.

    Attributes:
        object_number: its place in the file, from 1.
        label: its class.
        xmin: column of the left edge.
        ymin: row of the upper edge.
        xmax: column of the right edge.
        ymax: row of the lower edge.
    """

    object_number: int
    label: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float


@dataclass(frozen=True, slots=True)
class VocFile:
    """What one file says.

    Attributes:
        filename: of the image; empty when the file does not say.
        width: of the image, in pixels; 0 when the file does not say.
        height: likewise.
        objects: number of objects, usable or not.
        flagged_objects: objects that are difficult, truncated, occluded, or have a pose.
        corners: of the usable objects.
        problems: a sentence for each of the others.
    """

    filename: str
    width: int
    height: int
    objects: int
    flagged_objects: int
    corners: tuple[Corners, ...]
    problems: tuple[str, ...]


def parse_voc(path: Path) -> VocFile:
    """Read an annotation file.

    Raises:
        UnusableFile: when it cannot be read, is larger than 5 MB, is no XML, declares entities or a document type,
            has more than 100,000 elements, or is not an `<annotation>`.
    """
    root = _parse(_read(path))
    objects = root.findall("object")
    corners, problems = [], []
    for number, element in enumerate(objects, start=1):
        try:
            corners.append(_corners(number, element))
        except ValueError as error:
            problems.append(f"object {number} {error}; repair or remove it")
    return VocFile(
        filename=_text(root, "filename"),
        width=_stated_side(root, "width"),
        height=_stated_side(root, "height"),
        objects=len(objects),
        flagged_objects=sum(map(_is_flagged, objects)),
        corners=tuple(corners),
        problems=tuple(problems),
    )


def voc_document(entry: ImageEntry, path: PurePosixPath) -> str:
    """Return the annotation file of an image that lies at `path`, in the development kit's own convention."""
    root = Element("annotation")
    _add(root, "folder", str(path.parent))
    _add(root, "filename", path.name)
    _add(SubElement(root, "source"), "database", "Unknown")
    size = SubElement(root, "size")
    for name, pixels in (("width", entry.width), ("height", entry.height), ("depth", 3)):
        _add(size, name, str(pixels))
    _add(root, "segmented", "0")
    for box in entry.truth.boxes or ():
        _add_object(root, box)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


class _BoundedTreeBuilder(TreeBuilder):
    """Five megabytes of the smallest elements would take a hundred times as much memory."""

    def __init__(self) -> None:
        super().__init__()
        self._elements = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise UnusableFile(f"has more than {MAX_ELEMENTS:,} elements")
        return super().start(tag, attrs)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_XML_BYTES + 1)
    except OSError as error:
        raise UnusableFile(f"cannot be read ({error.strerror})") from error
    if len(data) > MAX_XML_BYTES:
        raise UnusableFile(f"is larger than {MAX_XML_BYTES // 1_000_000} MB")
    return data


def _parse(data: bytes) -> Element:
    parser = DefusedXMLParser(target=_BoundedTreeBuilder(), forbid_dtd=True)
    try:
        parser.feed(data)
        root: Element = parser.close()
    except DefusedXmlException as error:
        raise UnusableFile("declares a document type or entities, which are not read") from error
    except (ParseError, ValueError, LookupError) as error:
        raise UnusableFile(f"is no XML ({error})") from error
    if root.tag != "annotation":
        raise UnusableFile(f"begins with <{root.tag[:_SHOWN_CHARACTERS]}> in place of <annotation>")
    return root


def _corners(number: int, element: Element) -> Corners:
    label = _text(element, "name")
    if not label:
        raise ValueError("has no name")
    if len(label) > MAX_LABEL_CHARACTERS or not label.isprintable():
        raise ValueError(f"has a name of {len(label)} characters or some that cannot be printed")
    box = element.find("bndbox")
    if box is None:
        raise ValueError("has no bndbox")
    xmin, ymin, xmax, ymax = (_coordinate(box, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    return Corners(number, label, xmin, ymin, xmax, ymax)


def _coordinate(box: Element, name: str) -> float:
    text = _text(box, name)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"has {text[:_SHOWN_CHARACTERS]!r} for {name}, which is no number")
    return value


def _stated_side(root: Element, name: str) -> int:
    try:
        return max(0, int(float(_text(root, f"size/{name}"))))
    except (ValueError, OverflowError):
        return 0


def _is_flagged(element: Element) -> bool:
    flags = (_text(element, name) for name in ("difficult", "truncated", "occluded"))
    return any(flag not in ("", "0") for flag in flags) or _text(element, "pose").lower() not in ("", "unspecified")


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = text


def _add_object(root: Element, box: BoundingBox) -> None:
    element = SubElement(root, "object")
    for name, text in (("name", box.label), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
        _add(element, name, text)
    corners = SubElement(element, "bndbox")
    for name, pixels in (("xmin", box.left + 1), ("ymin", box.top + 1), ("xmax", box.right), ("ymax", box.bottom)):
        _add(corners, name, str(pixels))
