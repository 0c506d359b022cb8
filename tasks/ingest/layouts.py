"""Recognise how a folder arranges its images, and list them with label, split and mask. Opens no image."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from tasks.dataset.entries import Split
from tasks.dataset.findings import Finding
from tasks.errors import DataError
from tasks.vision.images import IMAGE_SUFFIXES

Layout = Literal["class folders", "split folders", "MVTec"]

SPLIT_BY_FOLDER: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
MASK_FOLDER = "ground_truth"
MASK_ENDING = "_mask"
MAX_LABEL_CHARACTERS = 256
"""The managed service's limit on a label's length."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that claims to be a labelled image."""

    source_ref: str
    label: str
    given_split: Split | Literal[""] = ""
    mask_ref: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of a source: those to check, and findings for those that are none."""

    layout: Layout
    files: tuple[ListedFile, ...]
    findings: tuple[Finding, ...] = field(default=())


def list_source(root: Path) -> Listing:
    """List a folder in the layout it is found to have.

    Hidden files (a name that starts with a dot, `Thumbs.db`) are passed over. A label is the first folder level
    (below the split folder, where there is one); deeper folders belong to it.

    Raises:
        DataError: when the folder holds no labelled image file.
    """
    findings: list[Finding] = []
    refs = sorted(_walk(root, findings))
    findings.sort(key=lambda finding: (finding.source_ref, finding.code))
    layout = _recognise(refs)
    files, strays = _LISTERS[layout](refs)
    usable = [file for file in files if _has_valid_label(file, findings)]
    findings += strays
    if not usable:
        raise DataError(
            f"{root} holds no image in a folder named by its label (found {len(refs)} files); put the images of "
            f"each label into a folder of its own, as {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return Listing(layout, tuple(usable), tuple(findings))


def _walk(root: Path, findings: list[Finding]) -> Iterator[PurePosixPath]:
    def tell(error: OSError) -> None:
        findings.append(_unreadable_finding(Path(error.filename), root, error))

    for folder, subfolders, names in os.walk(root, onerror=tell):
        here = Path(folder)
        for name in list(subfolders):
            if name.startswith("."):
                subfolders.remove(name)
            elif (here / name).is_symlink():
                findings.append(_folder_link_finding(here / name, root))
        for name in names:
            path = here / name
            if name.startswith(".") or name == "Thumbs.db":
                continue
            problem = _name_or_link_problem(path, root)
            if problem:
                findings.append(problem)
            elif path.is_file():
                yield PurePosixPath(path.relative_to(root).as_posix())


def _name_or_link_problem(path: Path, root: Path) -> Finding | None:
    if not _is_text(path.relative_to(root).as_posix()):
        return _name_finding(path, root)
    if not path.is_symlink():
        return None
    if not Path(os.path.realpath(path)).is_relative_to(root):
        return _link_finding(path, root)
    return None if path.exists() else _dangling_finding(path, root)


def _recognise(refs: list[PurePosixPath]) -> Layout:
    refs = [ref for ref in refs if ref.suffix.lower() in IMAGE_SUFFIXES]
    tops = {ref.parts[0] for ref in refs if len(ref.parts) > 1}
    train_labels = {ref.parts[1] for ref in refs if len(ref.parts) > 2 and ref.parts[0] == "train"}
    if {"train", "test"} <= tops and (MASK_FOLDER in tops or train_labels == {"good"}):
        return "MVTec"
    if tops and {top.lower() for top in tops} <= set(SPLIT_BY_FOLDER) and all(len(ref.parts) != 2 for ref in refs):
        return "split folders"
    return "class folders"


def _list_class_folders(refs: list[PurePosixPath]) -> tuple[list[ListedFile], list[Finding]]:
    files = [ListedFile(str(ref), ref.parts[0]) for ref in refs if len(ref.parts) > 1]
    return _images_only(files, [ref for ref in refs if len(ref.parts) == 1])


def _list_split_folders(refs: list[PurePosixPath]) -> tuple[list[ListedFile], list[Finding]]:
    files, strays = [], []
    for ref in refs:
        split = SPLIT_BY_FOLDER.get(ref.parts[0].lower())
        if split and len(ref.parts) > 2:
            files.append(ListedFile(str(ref), ref.parts[1], split))
        else:
            strays.append(ref)
    return _images_only(files, strays)


def _list_mvtec(refs: list[PurePosixPath]) -> tuple[list[ListedFile], list[Finding]]:
    masks = {
        (ref.parts[1], ref.stem.removesuffix(MASK_ENDING)): str(ref)
        for ref in refs
        if len(ref.parts) == 3 and ref.parts[0] == MASK_FOLDER and ref.suffix.lower() in IMAGE_SUFFIXES
    }
    rest = [ref for ref in refs if ref.parts[0] != MASK_FOLDER]
    listed, findings = _list_split_folders(rest)
    files, paired = [], set()
    for file in listed:
        key = (file.label, PurePosixPath(file.source_ref).stem)
        is_defect = file.source_ref.startswith("test/") and key in masks
        if is_defect:
            paired.add(key)
        files.append(ListedFile(file.source_ref, file.label, file.given_split, masks[key] if is_defect else ""))
    for key in sorted(set(masks) - paired):
        message = f"the mask has no image test/{key[0]}/{key[1]}.*; add the image or remove the mask"
        findings.append(Finding(code="WARNING_MASK_WITHOUT_IMAGE", source_ref=masks[key], message=message))
    return files, findings


_LISTERS = {
    "class folders": _list_class_folders,
    "split folders": _list_split_folders,
    "MVTec": _list_mvtec,
}


def _images_only(files: list[ListedFile], strays: list[PurePosixPath]) -> tuple[list[ListedFile], list[Finding]]:
    images = [file for file in files if PurePosixPath(file.source_ref).suffix.lower() in IMAGE_SUFFIXES]
    others = sorted({file.source_ref for file in files} - {file.source_ref for file in images})
    return images, [_stray_finding(ref) for ref in (*map(PurePosixPath, others), *strays)]


def _stray_finding(ref: PurePosixPath) -> Finding:
    if ref.suffix.lower() in IMAGE_SUFFIXES:
        message = "the image stands in no label's folder, so it has no label; move it into one"
        return Finding(code="WARNING_UNANNOTATED_RECORD", source_ref=str(ref), message=message)
    message = "the file's name does not end like an image; rename it if it is one"
    return Finding(code="WARNING_IGNORED_FILE", source_ref=str(ref), message=message)


def _has_valid_label(file: ListedFile, findings: list[Finding]) -> bool:
    if len(file.label) <= MAX_LABEL_CHARACTERS and file.label.isprintable():
        return True
    message = f"the label has {len(file.label)} characters or some that cannot be printed; rename its folder"
    findings.append(Finding(code="ERROR_INVALID_LABEL_NAME", source_ref=file.source_ref, message=message))
    return False


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _name_finding(path: Path, root: Path) -> Finding:
    message = "the file's name is not valid UTF-8; rename it"
    return Finding(code="ERROR_INVALID_FILE_NAME", source_ref=_shown(path, root), message=message)


def _link_finding(path: Path, root: Path) -> Finding:
    message = "the link leads out of the source, where nothing is read; copy its target into the source"
    return Finding(code="ERROR_OUTSIDE_SOURCE", source_ref=_shown(path, root), message=message)


def _folder_link_finding(path: Path, root: Path) -> Finding:
    if not Path(os.path.realpath(path)).is_relative_to(root):
        return _link_finding(path, root)
    message = "links to folders are not followed; the folder it leads to is read in its own place"
    return Finding(code="WARNING_IGNORED_FILE", source_ref=_shown(path, root), message=message)


def _dangling_finding(path: Path, root: Path) -> Finding:
    message = "the link leads to no file; repair or remove it"
    return Finding(code="ERROR_UNREADABLE_FILE", source_ref=_shown(path, root), message=message)


def _unreadable_finding(path: Path, root: Path, error: OSError) -> Finding:
    message = f"the folder cannot be read: {error.strerror}; change its permissions"
    return Finding(code="ERROR_UNREADABLE_FILE", source_ref=_shown(path, root), message=message)


def _shown(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
