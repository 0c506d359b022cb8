"""Images that must not part: of one given group, or near-duplicates of one picture.

Near-duplicates are grouped as stars: each is a confirmed near-duplicate of the group's leader. They are never chained,
or a fixed camera would link all its pictures, each to the next, into one group.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.dataset.pattern_bounds import endless_part
from tasks.errors import RequestError

GROUP_PREFIX = "group:"
"""Before the key of a given group, which no digest begins with."""
MAX_PATTERN_CHARACTERS = 200
MAX_SEARCHED_CHARACTERS = 500
"""A longer reference is not searched: the time of a pattern such as `a*a*b` grows with a power of the length."""

_USE: dict[Split, str] = {"train": "trained on", "validation": "validated on", "test": "tested on"}
_WORK: dict[Split, str] = {"train": "training", "validation": "validation", "test": "testing"}

Pairs = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Images with their groups.

    Attributes:
        entries: the images as they came, each with its `group`: `group:KEY` when one is given, else the digest of the
            image that leads it, as a near-duplicate or because the source says so, or its own.
        held: group to split, for groups with an image or a name that an earlier version assigned.
        findings: on near-duplicates.
    """

    entries: tuple[ImageEntry, ...]
    held: dict[str, Split]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What stays when no two splits share a picture or a group.

    Attributes:
        entries: the images that stay, in the order they came.
        splits: one for each of `entries`.
        findings: on the images left out, and on earlier ones that are linked and stay.
    """

    entries: tuple[ImageEntry, ...]
    splits: tuple[Split, ...]
    findings: tuple[Finding, ...]


def compile_group_pattern(text: str) -> re.Pattern[str]:
    """Compile the pattern that finds an image's group in its reference.

    What is guaranteed: the time of a search does not grow exponentially with the reference or the pattern. What is
    not: that it is short. With r repeats that can match the same characters, as the three of `a*a*a*b` can, it takes
    up to length ** (r + 1) steps, of a length of up to 500; repeats that end where the next cannot, as in
    `^([^/]+)/[^/]+$`, take few.

    Raises:
        RequestError: when it is no regular expression, is longer than 200 characters, has not exactly one group,
            repeats what holds a repeat or alternatives, such as `(a+)+` and `(?:a|aa)+`, has more than 8 places with
            a repeat of no fixed number or with alternatives, or repeats something more than 500 times at least.
    """
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise RequestError(f"data.group_by has {len(text)} characters; at most {MAX_PATTERN_CHARACTERS} are allowed")
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise RequestError(f"data.group_by {text!r} is no regular expression: {error}") from error
    if pattern.groups != 1:
        raise RequestError(
            f"data.group_by {text!r} has {pattern.groups} groups in parentheses and needs exactly one, such as "
            r"part-(\d+); write (?:...) around what is no key"
        )
    if problem := endless_part(text, MAX_SEARCHED_CHARACTERS):
        raise RequestError(f"data.group_by {text!r} {problem}, which can take for ever; write a simpler pattern")
    return pattern


def given_key(entry: ImageEntry) -> str:
    """Return the key of the group that the source names for an image; empty when it names none."""
    return "" if entry.group == entry.sha256 else entry.group


def find_groups(entries: Sequence[ImageEntry], pattern: re.Pattern[str]) -> tuple[list[ImageEntry], list[Finding]]:
    """Give images without a group of their own the one that the pattern finds in their reference.

    Returns:
        All entries, and one finding when the pattern finds nothing in some.
    """
    found = [entry if given_key(entry) else replace(entry, group=_key(entry, pattern)) for entry in entries]
    alone = sorted(entry.source_ref for entry in found if not entry.group)
    if not alone:
        return found, []
    message = (
        f"data.group_by {pattern.pattern!r} finds no group in {len(alone)} of {len(found)} images, this is the first; "
        "each stands alone: change the pattern if they belong together"
    )
    return found, [Finding(code="WARNING_NO_GROUP", source_ref=alone[0], message=message)]


def precedence(entries: Sequence[ImageEntry], earlier: Mapping[str, Split]) -> NDArray[np.intp]:
    """Return the places of entries in the order in which they lead: of earlier versions, of given groups, by digest."""
    given = _given_ids(entries)
    keys = [(entry.sha256 not in earlier, not group, entry.sha256) for entry, group in zip(entries, given, strict=True)]
    return np.array(sorted(range(len(entries)), key=keys.__getitem__), np.intp)


def group_images(entries: Sequence[ImageEntry], pairs: Pairs, earlier: Mapping[str, Split]) -> Grouping:
    """Put images into groups.

    Args:
        entries: each with the key of its given group in `group`; empty, or its own digest, without one.
        pairs: (pairs, 2) places in `entries` of confirmed near-duplicates, found in the order of `precedence`.
        earlier: digests and groups to split, from earlier versions.
    """
    leaders = _leaders(entries, pairs, earlier)
    given = _given_ids(entries)
    groups = [given[leader] or entries[leader].sha256 for leader in leaders]
    grouped = tuple(replace(entry, group=group) for entry, group in zip(entries, groups, strict=True))
    held: dict[str, Split] = {}
    for place in precedence(entries, earlier).tolist():
        group, digest = groups[place], entries[place].sha256
        if group in earlier or digest in earlier:
            held.setdefault(group, earlier[group] if group in earlier else earlier[digest])
    findings = [*_joined(entries, leaders), *_label_findings(entries, pairs)]
    return Grouping(grouped, held, tuple(findings))


def settle(
    entries: Sequence[ImageEntry], splits: Sequence[Split], pairs: Pairs, earlier: Mapping[str, Split]
) -> Settlement:
    """Leave out new images that link two splits, as a near-duplicate or as a member of a given group.

    An image of an earlier version stays and keeps its split. Of two new ones that which is tested on stays, else that
    with the smaller digest.

    Args:
        entries: grouped by `group_images`.
        splits: one for each of `entries`, from `assign_splits` or the source.
        pairs: (pairs, 2) places in `entries` of confirmed near-duplicates.
        earlier: digests and groups to split, from earlier versions.
    """
    final = [earlier.get(entry.sha256, split) for entry, split in zip(entries, splits, strict=True)]
    near = _neighbours(pairs)
    order = sorted(
        range(len(entries)),
        key=lambda place: (entries[place].sha256 not in earlier, final[place] != "test", entries[place].sha256),
    )
    kept: set[int] = set()
    by_group: dict[str, dict[Split, int]] = defaultdict(dict)
    findings = []
    for place in order:
        entry, split = entries[place], final[place]
        alike = [other for other in near[place] if other in kept and final[other] != split]
        akin = [other for kept_split, other in by_group[entry.group].items() if kept_split != split]
        if alike or akin:
            other = min(alike or akin, key=lambda other: (final[other] != "test", entries[other].source_ref))
            link = "near-duplicate of" if alike else "in one group with"
            is_new = entry.sha256 not in earlier
            findings.append(_link_finding(entry, split, f"{link} {entries[other].source_ref}", final[other], is_new))
            if is_new:
                continue
        kept.add(place)
        by_group[entry.group].setdefault(split, place)
    places = sorted(kept)
    return Settlement(
        tuple(entries[place] for place in places), tuple(final[place] for place in places), tuple(findings)
    )


def assignments_of(
    entries: Sequence[ImageEntry], splits: Sequence[Split], earlier: Mapping[str, Split]
) -> dict[str, Split]:
    """Return what the catalogue keeps of settled entries: digests and groups to splits; digests sit where they are.

    A group that earlier versions divided keeps the split that it had, else that which counts most: test.
    """
    assigned: dict[str, Split] = {}
    for entry, split in zip(entries, splits, strict=True):
        # Another group is named by its leader's digest, and a leader that was left out has no split to keep.
        if entry.group.startswith(GROUP_PREFIX) and (split == "test" or entry.group not in assigned):
            assigned[entry.group] = split
    assigned |= {group: earlier[group] for group in assigned if group in earlier}
    return assigned | {entry.sha256: split for entry, split in zip(entries, splits, strict=True)}


def _leaders(entries: Sequence[ImageEntry], pairs: Pairs, earlier: Mapping[str, Split]) -> list[int]:
    """Return the place of the leader of each entry, its own when it leads or stands alone."""
    near, given = _neighbours(pairs), _given_ids(entries)
    leaders = list(range(len(entries)))
    rank_of_leader: dict[int, int] = {}
    for rank, place in enumerate(precedence(entries, earlier).tolist()):
        entry = entries[place]
        # Two images that earlier versions put into different splits stay there, so no group may hold both.
        able = [
            other
            for other in near[place]
            if other in rank_of_leader and earlier.get(entry.sha256) in (None, earlier.get(entries[other].sha256))
        ]
        if able and not given[place]:
            leaders[place] = min(able, key=rank_of_leader.__getitem__)
        else:
            rank_of_leader[place] = rank
    return leaders


def _neighbours(pairs: Pairs) -> defaultdict[int, list[int]]:
    near: defaultdict[int, list[int]] = defaultdict(list)
    for first, second in pairs.tolist():
        near[first].append(second)
        near[second].append(first)
    return near


def _given_ids(entries: Sequence[ImageEntry]) -> list[str]:
    """Return the id of each image's given group; empty when none is given.

    A group of near-duplicates is named by its leader's digest. Read back, the others name it, and the leader, whose
    own digest is no key, belongs to it all the same.
    """
    keys = [given_key(entry) for entry in entries]
    led = set(keys) & {entry.sha256 for entry, key in zip(entries, keys, strict=True) if not key}
    ids = []
    for entry, key in zip(entries, keys, strict=True):
        named = key or entry.sha256
        ids.append(named if named in led else f"{GROUP_PREFIX}{key}" if key else "")
    return ids


def _key(entry: ImageEntry, pattern: re.Pattern[str]) -> str:
    if len(entry.source_ref) > MAX_SEARCHED_CHARACTERS:
        return ""
    found = pattern.search(entry.source_ref)
    return (found.group(1) or "") if found else ""


def _joined(entries: Sequence[ImageEntry], leaders: Sequence[int]) -> Iterator[Finding]:
    for entry, leader in zip(entries, leaders, strict=True):
        if entries[leader] is not entry:
            message = f"near-duplicate of {entries[leader].source_ref}; grouped with it, so both are in one split"
            yield Finding(code="WARNING_NEAR_DUPLICATE", source_ref=entry.source_ref, message=message)


def _label_findings(entries: Sequence[ImageEntry], pairs: Pairs) -> Iterator[Finding]:
    """Yield one finding for each image whose labels a near-duplicate does not have, however many there are."""
    told: set[int] = set()
    for first, second in pairs.tolist():
        one, other = entries[second], entries[first]
        if second not in told and one.truth.labels != other.truth.labels:
            told.add(second)
            message = (
                f"labelled {one.truth.stratum or 'nothing'}, but its near-duplicate {other.source_ref} is labelled "
                f"{other.truth.stratum or 'nothing'}; both are used: correct one of them"
            )
            yield Finding(code="WARNING_NEAR_DUPLICATE_LABELS", source_ref=one.source_ref, message=message)


def _link_finding(entry: ImageEntry, split: Split, link: str, other_split: Split, is_new: bool) -> Finding:
    if is_new:
        code = "WARNING_LINKS_SPLITS"
        message = (
            f"{link}, which is {_USE[other_split]}; left out of {_WORK[split]} so that the test stays honest: nothing "
            "to do"
        )
    else:
        code = "WARNING_NEAR_DUPLICATE_ACROSS_SPLITS"
        message = (
            f"{link}, which is {_USE[other_split]}, while this is {_USE[split]}, both since earlier versions; they "
            "stay: remove one of them for an honest test"
        )
    return Finding(code=code, source_ref=entry.source_ref, message=message)
