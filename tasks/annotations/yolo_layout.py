"""What a YOLO data.yaml says: the classes, and which images are in which split. No label file is read here."""

import posixpath
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.annotations.annotated import MAX_LABEL_CHARACTERS, SPLIT_BY_NAME
from tasks.annotations.references import SHOWN_CHARACTERS, ReferenceResolver, RefusedReference
from tasks.dataset.entries import Split
from tasks.dataset.findings import Finding
from tasks.errors import DataError
from tasks.vision.images import IMAGE_SUFFIXES

MAX_YAML_BYTES = 1_000_000
MAX_LIST_BYTES = 100_000_000

# An image of several splits belongs to the last of them here, so that no test image is trained on.
_SPLITS_BY_WEIGHT: tuple[Split, ...] = ("train", "validation", "test")
_NOTHING = ("", "~", "null")
_CLIMBS = re.compile(r"^(\.\./)+")


class TooLarge(OSError):
    """A file of more bytes than are read."""


@dataclass(frozen=True, slots=True)
class Source:
    """The folder that is read.

    Attributes:
        root: the folder.
        refs: all files below it, sorted.
        files: likewise, to look up.
        resolver: finds images and folders.
    """

    root: Path
    refs: list[str]
    files: frozenset[str]
    resolver: ReferenceResolver

    def below(self, folder: str) -> list[str]:
        """Return the files below a folder, sorted."""
        if folder == ".":
            return self.refs
        after = f"{folder}{chr(ord('/') + 1)}"
        return self.refs[bisect_left(self.refs, f"{folder}/") : bisect_left(self.refs, after)]


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a file.

    Raises:
        OSError: when it cannot be read; `TooLarge` when it has more than `max_bytes`.
    """
    with path.open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise TooLarge(f"is larger than {max_bytes / 1e6:g} MB")
    return data


def load_yaml(path: Path, yaml_ref: str) -> dict[str, Any]:
    """Return a data.yaml as texts, lists of them and mappings.

    Raises:
        DataError: when it cannot be read, is no mapping, or describes key points.
    """
    try:
        # Texts only: names such as `no`, `1.10` and `007` stay what they are, and no tag makes an object.
        document = yaml.load(read_bounded(path, MAX_YAML_BYTES), Loader=yaml.BaseLoader)  # noqa: S506
    except OSError as error:
        raise DataError(f"{yaml_ref} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first_line = str(error).partition("\n")[0][:200]
        raise DataError(f"{yaml_ref} is no YAML: {first_line}; correct it") from error
    if not isinstance(document, dict):
        raise DataError(f"{yaml_ref} is no mapping with names and train, val or test; correct it")
    if "kpt_shape" in document:
        raise DataError(f"{yaml_ref} describes key points (kpt_shape), which are not read; export boxes instead")
    return document


def class_names(document: dict[str, Any], yaml_ref: str, findings: list[Finding]) -> dict[int, str]:
    """Return the names of the classes by number; `names` may be a list, or a mapping with gaps.

    Raises:
        DataError: when there is none.
    """
    stated = document.get("names")
    pairs = list(stated.items()) if isinstance(stated, dict) else []
    if isinstance(stated, list):
        pairs = [(str(number), name) for number, name in enumerate(stated)]
    names = {int(key): name for key, name in pairs if _is_number(key) and _is_name(name)}
    if not names:
        raise DataError(f"{yaml_ref} names no classes; add a list called names")
    for place, (key, name) in enumerate(pairs, start=1):
        if not (_is_number(key) and _is_name(name)):
            message = f"name {place} of {yaml_ref} is no whole number with a text of up to {MAX_LABEL_CHARACTERS}"
            message += " printable characters; correct it"
            findings.append(Finding(code="ERROR_INVALID_LABEL_NAME", source_ref=yaml_ref, message=message))
    count = document.get("nc")
    if isinstance(count, str) and count not in _NOTHING and count != str(len(pairs)):
        message = f"nc of {yaml_ref} is {count[:20]!r}, but it has {len(pairs)} names; the names count"
        findings.append(Finding(code="WARNING_CLASS_COUNT", source_ref=yaml_ref, message=message))
    return names


def split_by_image(
    document: dict[str, Any], yaml_ref: str, source: Source, findings: list[Finding]
) -> dict[str, Split]:
    """Return the split of each image that data.yaml leads to; folders are searched all the way down.

    An image of several splits is a test image before a validation image before a training image. A split that
    repeats another word for word is left out, as toy data does it: the images of both are training images then.

    Raises:
        DataError: when no split is named.
    """
    stated = _stated_splits(document)
    if not stated:
        raise DataError(f"{yaml_ref} names no images; add train, val or test")
    splits: dict[str, Split] = {}
    seen: list[list[str]] = []
    for split, places in stated.items():
        if places in seen:
            message = f"{split} of {yaml_ref} names the same images as another split, with which they stay"
            findings.append(Finding(code="WARNING_DUPLICATE_IMAGE", source_ref=yaml_ref, message=message))
            continue
        seen.append(places)
        # Two spellings of one folder are searched once.
        refs = dict.fromkeys(_locate_all(places, document, yaml_ref, source, findings))
        images = dict.fromkeys(image for ref in refs for image in _images_of(ref, source, findings))
        if repeated := len(images.keys() & splits.keys()):
            message = f"{repeated} images of {yaml_ref} are in {split} and in another split; they count as {split}"
            findings.append(Finding(code="WARNING_DUPLICATE_IMAGE", source_ref=yaml_ref, message=message))
        splits.update(dict.fromkeys(images, split))
    return splits


def label_ref_of(image_ref: str) -> str:
    """Return where an image's label file lies: the last folder `images` of its path is `labels`, the suffix .txt."""
    folder, name = posixpath.split(image_ref)
    before, images, after = f"/{folder}/".rpartition("/images/")
    label_folder = f"{before}/labels/{after}" if images else folder
    return posixpath.join(label_folder.strip("/"), posixpath.splitext(name)[0] + ".txt")


def is_image(ref: str) -> bool:
    """Tell by its suffix whether a file is an image."""
    return posixpath.splitext(ref)[1].lower() in IMAGE_SUFFIXES


def _stated_splits(document: dict[str, Any]) -> dict[Split, list[str]]:
    places: dict[Split, list[str]] = {}
    for key, value in document.items():
        split = SPLIT_BY_NAME.get(key.lower())
        stated = [place for place in (value if isinstance(value, list) else [value]) if place not in _NOTHING]
        if split and stated:
            places.setdefault(split, []).extend(dict.fromkeys(map(_as_text, stated)))
    return {split: places[split] for split in _SPLITS_BY_WEIGHT if split in places}


def _as_text(place: object) -> str:
    return place if isinstance(place, str) else ""


def _locate_all(
    places: list[str], document: dict[str, Any], yaml_ref: str, source: Source, findings: list[Finding]
) -> Iterator[str]:
    for place in places:
        try:
            yield _locate(place, _as_text(document.get("path")), posixpath.dirname(yaml_ref), source)
        except RefusedReference as error:
            message = f"{place[:SHOWN_CHARACTERS]!r} of {yaml_ref}: {error}"
            findings.append(Finding(code=error.code, source_ref=yaml_ref, message=message))


def _locate(place: str, path: str, yaml_folder: str, source: Source) -> str:
    """Return the folder or list that is meant; data sets move, and `path` often still names where they were made."""
    if not place:
        raise RefusedReference("ERROR_MISSING_SPLIT", "it is no text; write a folder or a list of folders")
    # Exports say ../train/images of a folder that lies beside data.yaml.
    beside = _CLIMBS.sub("", place)
    refused = None
    for candidate in dict.fromkeys((posixpath.join(path, place), place, beside)):
        try:
            ref = source.resolver.resolve(candidate, yaml_folder)
        except RefusedReference as error:
            refused = refused or error
            continue
        is_list = ref in source.files and ref.lower().endswith(".txt")
        if is_list or source.below(ref):
            return ref
    raise refused or RefusedReference(
        "ERROR_MISSING_SPLIT", "no folder or .txt list of images lies there; correct the path"
    )


def _images_of(ref: str, source: Source, findings: list[Finding]) -> Iterator[str]:
    """Yield the images of one folder, or of one list of images."""
    if ref not in source.files:
        yield from filter(is_image, source.below(ref))
        return
    try:
        lines = read_bounded(source.root / ref, MAX_LIST_BYTES).split(b"\n")
    except OSError as error:
        message = f"the list of images cannot be read: {error.strerror or error}"
        findings.append(Finding(code="ERROR_UNREADABLE_FILE", source_ref=ref, message=message))
        return
    for number, line in enumerate(lines, start=1):
        reference = line.decode("utf-8-sig", "replace").strip()
        if not reference:
            continue
        try:
            yield source.resolver.resolve(reference, posixpath.dirname(ref))
        except RefusedReference as error:
            message = f"line {number} of {ref}: {error}"
            findings.append(Finding(code=error.code, source_ref=ref, message=message))


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < 10


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name.strip()) <= len(name) <= MAX_LABEL_CHARACTERS and name.isprintable()
