"""Walk a source's folder: every file below it by reference, and findings for odd names and links."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tasks.dataset.findings import Finding


def walk_files(root: Path) -> tuple[list[PurePosixPath], list[Finding]]:
    """Return the references of all files below `root`, sorted, and findings for what cannot be read.

    Hidden files (a name that starts with a dot, `Thumbs.db`) are passed over; nothing outside `root` is read.
    """
    findings: list[Finding] = []
    refs = sorted(_walk(root, findings))
    return refs, sorted(findings, key=lambda finding: (finding.source_ref, finding.code))


def is_hidden(name: str) -> bool:
    """Whether files and folders of a name are passed over."""
    return name.startswith(".") or name == "Thumbs.db"


def _walk(root: Path, findings: list[Finding]) -> Iterator[PurePosixPath]:
    def tell(error: OSError) -> None:
        findings.append(_unreadable_finding(Path(error.filename), root, error))

    for folder, subfolders, names in os.walk(root, onerror=tell):
        here = Path(folder)
        for name in list(subfolders):
            if is_hidden(name):
                subfolders.remove(name)
            elif (here / name).is_symlink():
                findings.append(_folder_link_finding(here / name, root))
        for name in names:
            path = here / name
            if is_hidden(name):
                continue
            problem = _name_or_link_problem(path, root)
            if problem:
                findings.append(problem)
            elif path.is_file():
                yield PurePosixPath(path.relative_to(root).as_posix())


def _name_or_link_problem(path: Path, root: Path) -> Finding | None:
    if not is_text(path.relative_to(root).as_posix()):
        return _name_finding(path, root)
    if not path.is_symlink():
        return None
    if not Path(os.path.realpath(path)).is_relative_to(root):
        return _link_finding(path, root)
    return None if path.exists() else _dangling_finding(path, root)


def is_text(name: str) -> bool:
    """Whether a name is UTF-8, and has no bytes that stand for themselves."""
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
