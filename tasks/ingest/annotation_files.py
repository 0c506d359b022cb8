"""Find the annotation files of a source, and read them in the format they are found to have."""

import posixpath
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from tasks.annotations.annotated import SPLIT_BY_NAME, AnnotatedImage, Reading
from tasks.annotations.coco import is_coco, read_coco
from tasks.annotations.csv_lines import read_heading
from tasks.annotations.csv_table import is_table, read_csv
from tasks.annotations.references import ReferenceResolver
from tasks.annotations.voc import find_voc, read_image_sets, read_voc
from tasks.annotations.yolo import find_data_yaml, read_yolo
from tasks.dataset.entries import Split
from tasks.errors import DataError
from tasks.ground_truth.limits import Mode
from tasks.ground_truth.read import is_blank_manifest, is_manifest, read_manifest_file

Format = Literal["Ground Truth", "COCO", "YOLO", "Pascal VOC", "CSV"]
JOB_OUTPUT = "output.manifest"
"""The one manifest of a labelling job that holds its outcome; the others beside it are its working files."""
ANNOTATED_COPY = re.compile("with_?validation", re.IGNORECASE)
"""Stands in the names of the managed service's annotated manifests, which repeat the lines of a manifest."""


@dataclass(frozen=True, slots=True)
class AnnotationFiles:
    """Annotation files of one format, as references below their folder."""

    format: Format
    refs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """How annotation files are to be understood.

    Attributes:
        mode: of validation.
        group_by: the CSV column that names groups, or a pattern with one group in parentheses.
    """

    mode: Mode
    group_by: str = ""


def find_annotation_files(folder: Path, refs: Sequence[PurePosixPath]) -> AnnotationFiles | None:
    """Return the annotation files among a folder's files; None when it has none and its folders are the labels.

    Where a folder holds several formats, the first of Ground Truth, COCO, YOLO, Pascal VOC, CSV is taken. Annotated
    copies of a manifest count only where nothing else does.
    """
    names = [str(ref) for ref in refs]
    manifests = [name for name in names if is_manifest(folder / name)]
    originals = [name for name in manifests if not ANNOTATED_COPY.search(PurePosixPath(name).name)]
    if originals:
        outcomes = [name for name in originals if PurePosixPath(name).name == JOB_OUTPUT]
        return AnnotationFiles("Ground Truth", tuple(outcomes or originals))
    coco = [name for name in names if name.lower().endswith(".json") and is_coco(folder / name)]
    if coco:
        return AnnotationFiles("COCO", tuple(coco))
    data_yaml = find_data_yaml(folder, names)
    if data_yaml:
        return AnnotationFiles("YOLO", (data_yaml,))
    voc = find_voc(names)
    if voc:
        return AnnotationFiles("Pascal VOC", tuple(voc))
    tables = [name for name in names if "/" not in name and name.lower().endswith(".csv") and is_table(folder / name)]
    if tables:
        return AnnotationFiles("CSV", tuple(tables))
    return AnnotationFiles("Ground Truth", tuple(manifests)) if manifests else None


def recognise_annotation_file(path: Path, folder: Path) -> AnnotationFiles | None:
    """Return what a single file below `folder` is; None when it is no annotation file of a known format.

    Raises:
        DataError: when it is a manifest of nothing.
    """
    if is_blank_manifest(path):
        raise DataError(
            f"The manifest file is empty (ERROR_EMPTY_MANIFEST): {path} has no lines; name another, or a folder"
        )
    return find_annotation_files(folder, [PurePosixPath(path.relative_to(folder))])


def read_annotation_files(
    found: AnnotationFiles,
    folder: Path,
    root: Path,
    resolver: ReferenceResolver,
    beside: Collection[str],
    files: Collection[str],
    rules: ReadingRules,
) -> Reading:
    """Read annotation files below `folder`.

    Args:
        found: the annotation files.
        folder: what their references are relative to.
        root: the images' folder.
        resolver: finds the files that they mean.
        beside: references of all files below `folder`.
        files: references of all files below `root`.
        rules: how to understand them.

    Raises:
        DataError: when a file as a whole is not what its name or beginning promised.
    """
    if found.format == "YOLO":
        return read_yolo(folder / found.refs[0], root, files, resolver)
    if found.format == "Pascal VOC":
        reading = read_voc(found.refs, folder, resolver, read_image_sets(folder, beside))
        return replace(reading, images=tuple(map(_with_split_of_folder, reading.images)))
    readings = [_read_one(found.format, folder, ref, base_of(ref, folder, root), resolver, rules) for ref in found.refs]
    return Reading(
        tuple(image for reading in readings for image in reading.images),
        tuple(finding for reading in readings for finding in reading.findings),
    )


def _with_split_of_folder(image: AnnotatedImage) -> AnnotatedImage:
    named = SPLIT_BY_NAME.get(PurePosixPath(image.source_ref).parts[0].lower())
    return image if image.given_split or not named else replace(image, given_split=named)


def split_named_by(ref: str) -> Split | Literal[""]:
    """Return the split that a file's name, or else its folder's, tells: `train` of `instances_train2017.json`."""
    path = PurePosixPath(ref)
    for text in (path.stem, path.parent.name):
        words = re.split(r"[^a-z]+", text.lower())
        split = next((SPLIT_BY_NAME[word] for word in words if word in SPLIT_BY_NAME), None)
        if split:
            return split
    return ""


def base_of(ref: str, folder: Path, root: Path) -> str:
    """Return the folder, relative to `root`, from which an annotation file's references are tried first."""
    # It is the annotation file's own, unless the images' folder was named.
    return posixpath.dirname(ref) if folder == root else ""


def _read_one(
    kind: Format, folder: Path, ref: str, base: str, resolver: ReferenceResolver, rules: ReadingRules
) -> Reading:
    split = split_named_by(ref)
    if kind == "Ground Truth":
        return read_manifest_file(folder / ref, resolver, base=base, mode=rules.mode, given_split=split)
    if kind == "COCO":
        return read_coco(folder / ref, resolver, base=base, given_split=split)
    group_column = _column_named(rules.group_by, read_heading(folder / ref))
    reading = read_csv(folder / ref, resolver, base=base, group_column=group_column)
    return replace(reading, images=tuple(replace(one, given_split=one.given_split or split) for one in reading.images))


def _column_named(group_by: str, heading: Sequence[str]) -> str:
    # A pattern has a group in parentheses; it is searched in the references later.
    return "" if "(" in group_by and group_by not in heading else group_by
