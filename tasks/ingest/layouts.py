"""Recognise how a folder arranges its images, and list them with label, split and mask. Opens no image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from tasks.annotations.annotated import MAX_LABEL_CHARACTERS, SPLIT_BY_NAME, AnnotatedImage
from tasks.dataset.findings import Finding
from tasks.vision.images import IMAGE_SUFFIXES
from tasks.vision.masks import MaskClass

Layout = Literal["class folders", "split folders", "MVTec", "Ground Truth", "COCO", "YOLO", "Pascal VOC", "CSV"]

MASK_FOLDER = "ground_truth"
MASK_ENDING = "_mask"
GOOD = "good"
"""The MVTec layout's name for what has no defect."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All images of a source: those to check, and findings for what is none.

    `manifests` are the absolute paths of the Ground Truth manifests that were read, and `row_files` what findings call
    them: each of their lines is an image of its own.
    """

    layout: Layout
    files: tuple[AnnotatedImage, ...]
    findings: tuple[Finding, ...] = ()
    manifests: tuple[str, ...] = ()
    row_files: tuple[str, ...] = ()


def list_folders(refs: Sequence[PurePosixPath]) -> Listing:
    """List images by their folders, in the layout these are found to have.

    A label is the first folder level (below the split folder, where there is one); deeper folders belong to it.
    """
    layout = _recognise(refs)
    files, findings = _LISTERS[layout](refs)
    return Listing(layout, tuple(files), tuple(findings))


def has_valid_labels(file: AnnotatedImage, findings: list[Finding]) -> bool:
    """Whether all labels of an image can be used; else a finding is added."""
    names = (*file.labels, *(box.label for box in file.boxes or ()), *(one.label for one in file.mask_classes))
    bad = next((name for name in names if not name or len(name) > MAX_LABEL_CHARACTERS or not name.isprintable()), None)
    if bad is None:
        return True
    message = f"the label has {len(bad)} characters or some that cannot be printed; rename it, or its folder"
    findings.append(Finding(code="ERROR_INVALID_LABEL_NAME", source_ref=file.source_ref, message=message))
    return False


def _recognise(refs: Sequence[PurePosixPath]) -> Layout:
    refs = [ref for ref in refs if ref.suffix.lower() in IMAGE_SUFFIXES]
    tops = {ref.parts[0] for ref in refs if len(ref.parts) > 1}
    train_labels = {ref.parts[1] for ref in refs if len(ref.parts) > 2 and ref.parts[0] == "train"}
    if {"train", "test"} <= tops and (MASK_FOLDER in tops or train_labels == {GOOD}):
        return "MVTec"
    if tops and {top.lower() for top in tops} <= set(SPLIT_BY_NAME) and all(len(ref.parts) != 2 for ref in refs):
        return "split folders"
    return "class folders"


def _list_class_folders(refs: Sequence[PurePosixPath]) -> tuple[list[AnnotatedImage], list[Finding]]:
    files = [AnnotatedImage(str(ref), (ref.parts[0],)) for ref in refs if len(ref.parts) > 1]
    return _images_only(files, [ref for ref in refs if len(ref.parts) == 1])


def _list_split_folders(refs: Sequence[PurePosixPath]) -> tuple[list[AnnotatedImage], list[Finding]]:
    files, strays = [], []
    for ref in refs:
        split = SPLIT_BY_NAME.get(ref.parts[0].lower())
        if split and len(ref.parts) > 2:
            files.append(AnnotatedImage(str(ref), (ref.parts[1],), given_split=split))
        else:
            strays.append(ref)
    return _images_only(files, strays)


def _list_mvtec(refs: Sequence[PurePosixPath]) -> tuple[list[AnnotatedImage], list[Finding]]:
    masks: dict[tuple[str, str] | None, str] = {
        (ref.parts[1], ref.stem.removesuffix(MASK_ENDING)): str(ref)
        for ref in refs
        if len(ref.parts) == 3 and ref.parts[0] == MASK_FOLDER and ref.suffix.lower() in IMAGE_SUFFIXES
    }
    rest = [ref for ref in refs if ref.parts[0] != MASK_FOLDER]
    listed, findings = _list_split_folders(rest)
    paired = {key for file in listed if (key := _mask_key(file)) in masks}
    files = [_with_mask(file, masks.get(_mask_key(file), ""), has_masks=bool(masks)) for file in listed]
    for key in sorted(key for key in masks if key and key not in paired):
        message = f"the mask has no image test/{key[0]}/{key[1]}.*; add the image or remove the mask"
        findings.append(Finding(code="WARNING_MASK_WITHOUT_IMAGE", source_ref=masks[key], message=message))
    return files, findings


def _mask_key(file: AnnotatedImage) -> tuple[str, str] | None:
    path = PurePosixPath(file.source_ref)
    return (file.labels[0], path.stem) if path.parts[0] == "test" else None


def _with_mask(file: AnnotatedImage, mask_ref: str, *, has_masks: bool) -> AnnotatedImage:
    if mask_ref:
        return replace(file, mask_ref=mask_ref, mask_classes=(MaskClass(file.labels[0]),))
    # Where defects have masks, a good image is one that was looked at and has no defect.
    return replace(file, boxes=()) if has_masks and file.labels == (GOOD,) else file


_LISTERS = {
    "class folders": _list_class_folders,
    "split folders": _list_split_folders,
    "MVTec": _list_mvtec,
}


def _images_only(
    files: list[AnnotatedImage], strays: list[PurePosixPath]
) -> tuple[list[AnnotatedImage], list[Finding]]:
    images = [file for file in files if PurePosixPath(file.source_ref).suffix.lower() in IMAGE_SUFFIXES]
    others = sorted({file.source_ref for file in files} - {file.source_ref for file in images})
    return images, [_stray_finding(ref) for ref in (*map(PurePosixPath, others), *strays)]


def _stray_finding(ref: PurePosixPath) -> Finding:
    if ref.suffix.lower() in IMAGE_SUFFIXES:
        message = "the image stands in no label's folder, so it has no label; move it into one"
        return Finding(code="WARNING_UNANNOTATED_RECORD", source_ref=str(ref), message=message)
    message = "the file's name does not end like an image; rename it if it is one"
    return Finding(code="WARNING_IGNORED_FILE", source_ref=str(ref), message=message)
