"""From a reference in an annotation file to a file below the source's root; no path leaves it. Opens no file."""

import posixpath
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

SHOWN_CHARACTERS = 200
ODD_KEY = "the name has an empty part or a dot as one; rename it"
_CONTROL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Controls, lone surrogates and line separators. Other spaces stand in real names: macOS puts U+202F into those of
its screenshots."""


class RefusedReference(Exception):
    """A reference that leads nowhere. `code` is the finding it becomes; the message is a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """References that start with `prefix` start with `replacement` instead.

    With `of_objects` what follows the prefix is the key of an object: `a//1.png` and `a/1.png` are two.
    """

    prefix: str
    replacement: str
    of_objects: bool = False

    @classmethod
    def parse(cls, text: str) -> "RewriteRule":
        """Read `PREFIX=REPLACEMENT`; the replacement may be empty.

        Raises:
            ValueError: without `=`, or with an empty prefix.
        """
        prefix, separator, replacement = text.rpartition("=")
        if not separator or not prefix:
            raise ValueError(f"{text!r} is no rule; write PREFIX=REPLACEMENT, such as s3://bucket/photos/=photos/")
        return cls(prefix, replacement)


class ReferenceResolver:
    """Finds the files that annotation files mean.

    Args:
        root: absolute folder that no reference may leave.
        files: references of all files below it, relative to it.
        rules: rewritten prefixes; the longest that fits is used.
    """

    def __init__(self, root: Path, files: Iterable[str], rules: Sequence[RewriteRule] = ()) -> None:
        self._root = root
        self._files = frozenset(files)
        self._rules = sorted(rules, key=lambda rule: -len(rule.prefix))
        # Written backwards and sorted, all paths with one end stand together: many may share a file's name.
        self._backwards = sorted(_backwards(ref) for ref in self._files)

    @property
    def files(self) -> frozenset[str]:
        """References of all files below the root."""
        return self._files

    def resolve(self, reference: str, base: str = "") -> str:
        """Return the path relative to the root that a reference means; the file need not exist.

        A relative reference is tried from `base` (the annotation file's folder, relative to the root), then from the
        root, then as the end of the one file's path that ends so. Backslashes separate folders, as on Windows.

        Raises:
            RefusedReference: `ERROR_OUTSIDE_SOURCE` when it leads out of the root, `ERROR_INVALID_SOURCE_REF_FORMAT`
                when it is empty, has control characters, or a scheme that no rule rewrites,
                `ERROR_INVALID_FILE_NAME` when it is an object's key that no path stands for.
        """
        shown = reference[:SHOWN_CHARACTERS]
        _require_usable(reference, shown)
        rule = next((rule for rule in self._rules if reference.startswith(rule.prefix)), None)
        path = self._local_path(rule.replacement + reference[len(rule.prefix) :] if rule else reference)
        _require_usable(path, shown)
        if path.startswith("/"):
            found = self._below_root(path, shown)
            if rule and rule.of_objects and found != reference[len(rule.prefix) :]:
                raise RefusedReference("ERROR_INVALID_FILE_NAME", f"{shown}: {ODD_KEY}")
            return found
        path = path.replace("\\", "/")
        if path.startswith("/"):
            raise _outside(shown, self._root)
        for folder in dict.fromkeys((base, "")):
            candidate = posixpath.normpath(posixpath.join(folder, path))
            if candidate in self._files:
                return candidate
        candidate = posixpath.normpath(posixpath.join(base, path))
        if candidate == ".." or candidate.startswith("../"):
            raise _outside(shown, self._root)
        return self._only_file_ending_with(posixpath.normpath(path)) or candidate

    def _only_file_ending_with(self, tail: str) -> str:
        end = _backwards(tail)
        place = bisect_left(self._backwards, end)
        ends = [text for text in self._backwards[place : place + 2] if text.startswith(end)]
        return ends[0][-2::-1] if len(ends) == 1 else ""

    def _local_path(self, reference: str) -> str:
        scheme, separator, _ = reference.partition("://")
        if not separator:
            return reference
        if scheme.lower() != "file":
            raise RefusedReference(
                "ERROR_INVALID_SOURCE_REF_FORMAT",
                f"{reference[:SHOWN_CHARACTERS]} lies elsewhere; {_advice(scheme)}copy the images here and name a rule "
                f"in data.rewrite, such as {_folder_of(reference)}=",
            )
        try:
            return unquote(urlsplit(reference).path)
        except ValueError as error:
            message = f"{reference[:SHOWN_CHARACTERS]} is no file: address ({error}); write the path alone"
            raise RefusedReference("ERROR_INVALID_SOURCE_REF_FORMAT", message) from error

    def _below_root(self, path: str, shown: str) -> str:
        normal = PurePosixPath(posixpath.normpath(path))
        if not normal.is_relative_to(self._root.as_posix()):
            raise _outside(shown, self._root)
        return normal.relative_to(self._root.as_posix()).as_posix()


def has_controls(text: str) -> bool:
    """Whether a text has control characters, line breaks of Unicode or halves of surrogate pairs."""
    return not text.isprintable() and not _CONTROL_CATEGORIES.isdisjoint(map(unicodedata.category, text))


def _require_usable(path: str, shown: str) -> None:
    if not path or has_controls(path):
        raise RefusedReference("ERROR_INVALID_SOURCE_REF_FORMAT", f"{shown!r} is no path of an image file")


def _backwards(path: str) -> str:
    return f"/{path}"[::-1]


def _outside(shown: str, root: Path) -> RefusedReference:
    message = f"{shown} leads out of {root}, where nothing is read; name the images' folder in data.image_root"
    return RefusedReference("ERROR_OUTSIDE_SOURCE", message)


def _advice(scheme: str) -> str:
    return "name its folder as data.image_root, or " if scheme.lower() == "s3" else ""


def _folder_of(reference: str) -> str:
    return reference[: reference.rfind("/") + 1][:SHOWN_CHARACTERS]
