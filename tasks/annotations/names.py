"""Paths for images that are copied into one folder, where the file beside each is found by the image's stem."""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding


def distinct_names(entries: Iterable[ImageEntry]) -> dict[str, str]:
    """Return a path for each image, such that no two have the same stem in one folder.

    It is the image's path below its root where that can be printed and its stem is free. Of several that want one
    stem, the first by path keeps it, and of equal paths that which came first; the others get a number.

    Args:
        entries: images, each once; those of another root may have the same paths.

    Returns:
        Digest to path, with forward slashes.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    later: list[tuple[str, str, str]] = []
    for entry in sorted(entries, key=lambda entry: entry.source_ref):
        stem, suffix = posixpath.splitext(_printable(entry.source_ref))
        if stem in taken:
            later.append((entry.sha256, stem, suffix))
        else:
            taken.add(stem)
            names[entry.sha256] = stem + suffix
    # Counted on, not from 2 for each, so that many of one stem take no time of their square.
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(2))
    for digest, stem, suffix in later:
        free = next(name for number in numbers[stem] if (name := f"{stem}-{number}") not in taken)
        taken.add(free)
        names[digest] = free + suffix
    return names


def renaming_findings(entries: Iterable[ImageEntry], names: Mapping[str, str]) -> list[Finding]:
    """Return one finding for each image whose name is not its path below its root."""
    return [
        Finding(
            code="WARNING_RENAMED_FILE",
            source_ref=entry.source_ref,
            message=f"another image has its name but for the suffix, or it cannot be printed; it is written as {name}",
        )
        for entry in entries
        if (name := names[entry.sha256]) != entry.source_ref
    ]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "_" for character in text)
