"""Divide images into train, validation and test; a dataset's earlier versions have the first word."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.dataset.groups import (
    assignments_of,
    compile_group_pattern,
    find_groups,
    given_key,
    group_images,
    precedence,
    settle,
)
from tasks.dataset.near_duplicates import near_duplicate_pairs
from tasks.dataset.splits import SHARES_BY_SCHEME, assign_splits
from tasks.errors import DataError

NO_PAIRS: NDArray[np.intp] = np.empty((0, 2), np.intp)


@dataclass(frozen=True, slots=True)
class DivisionRules:
    """How a dataset is divided.

    Attributes:
        scheme: a key of `SHARES_BY_SCHEME`, or `given` for the source's own split folders.
        group_by: pattern that finds an image's group in its reference; empty when there is none, or when the source
            names groups itself.
        near_duplicates: whether near-duplicates are kept together.
    """

    scheme: str
    group_by: str
    near_duplicates: bool


@dataclass(frozen=True, slots=True)
class Division:
    """Images of each split, in the order of their references.

    Attributes:
        entries: by split, each with its group.
        assignments: what later versions have to keep: digests and groups to splits.
        findings: on groups, and on images left out.
    """

    entries: dict[Split, list[ImageEntry]]
    assignments: dict[str, Split]
    findings: tuple[Finding, ...]

    @property
    def groups(self) -> dict[str, list[str]]:
        """References of the images of each group."""
        members: dict[str, list[str]] = defaultdict(list)
        for split in SPLITS:
            for entry in self.entries[split]:
                members[entry.group].append(entry.source_ref)
        return members


def divide(
    entries: Sequence[ImageEntry],
    tested: Sequence[ImageEntry],
    thumbnails: NDArray[np.uint8],
    rules: DivisionRules,
    earlier: Mapping[str, Split],
) -> Division:
    """Group and divide images.

    Args:
        entries: the images of the source.
        tested: the images of a separate test source; when there are any, `entries` gives no test images.
        thumbnails: of `entries`, then of `tested`; (n, side, side).
        rules: how.
        earlier: digests and groups to split, from earlier versions of the dataset.

    Raises:
        DataError: when there is no image, or `given` is asked of a source without split folders.
        RequestError: when the pattern of groups cannot be used.
    """
    everything = [*entries, *tested]
    if not everything:
        raise DataError("no usable image is left; see the findings for the reasons")
    known = _binding(rules.scheme, earlier, tested)
    everything, unmatched = _with_given_groups(everything, rules.group_by)
    pairs = near_duplicate_pairs(thumbnails, precedence(everything, known)) if rules.near_duplicates else NO_PAIRS
    grouping = group_images(everything, pairs, known)
    source = grouping.entries[: len(entries)]
    splits = _source_splits(source, rules.scheme, grouping.held, has_test_source=bool(tested))
    splits += ["test"] * len(tested)
    settled = settle(grouping.entries, splits, pairs, known)
    divided: dict[Split, list[ImageEntry]] = {split: [] for split in SPLITS}
    for entry, split in zip(settled.entries, settled.splits, strict=True):
        # What the source named is decided; left in, two sources of one dataset would differ by it.
        divided[split].append(replace(entry, given_split=""))
    return Division(
        {split: sorted(divided[split], key=lambda entry: entry.source_ref) for split in SPLITS},
        assignments_of(settled.entries, settled.splits, known),
        (*unmatched, *grouping.findings, *settled.findings),
    )


def require_kinship(name: str, entries: Sequence[ImageEntry], earlier: Mapping[str, Split]) -> None:
    """Refuse a source that shares no image with the dataset whose next version it would become.

    Raises:
        DataError: two folders that happen to have one name are two datasets, with models of their own.
    """
    if earlier and entries and not any(entry.sha256 in earlier for entry in entries):
        raise DataError(
            f"the dataset {name!r} holds other pictures: this source shares none of its images; give it a data.name of "
            "its own"
        )


def _binding(scheme: str, earlier: Mapping[str, Split], tested: Sequence[ImageEntry]) -> dict[str, Split]:
    """Return the earlier assignments that still bind."""
    if scheme == "given":
        return {}
    if not tested:
        return dict(earlier)
    # What is in the test source is tested on, whatever it was before; nothing else is.
    digests = {entry.sha256 for entry in tested}
    return {key: "validation" if split == "test" else split for key, split in earlier.items() if key not in digests}


def _with_given_groups(entries: list[ImageEntry], group_by: str) -> tuple[list[ImageEntry], list[Finding]]:
    # A source that names groups itself was asked for them by the name of a column.
    if not group_by or any(map(given_key, entries)):
        return entries, []
    return find_groups(entries, compile_group_pattern(group_by))


def _source_splits(
    entries: Sequence[ImageEntry], scheme: str, held: Mapping[str, Split], *, has_test_source: bool
) -> list[Split]:
    if scheme == "given":
        splits = _given_splits(entries)
    else:
        assigned = assign_splits(entries, _shares(scheme, has_test_source=has_test_source), held)
        splits = [assigned[entry.group] for entry in entries]
    return ["validation" if split == "test" and has_test_source else split for split in splits]


def _given_splits(entries: Sequence[ImageEntry]) -> list[Split]:
    homeless = [entry.source_ref for entry in entries if not entry.given_split]
    if homeless:
        raise DataError(
            f"data.split is 'given', but {len(homeless)} images stand in no split folder (first: {homeless[0]}); "
            "arrange the source as train/LABEL/, validation/LABEL/, test/LABEL/ or choose 70/15/15"
        )
    return [entry.given_split for entry in entries if entry.given_split]


def _shares(scheme: str, *, has_test_source: bool) -> dict[Split, float]:
    shares = SHARES_BY_SCHEME[scheme]
    if not has_test_source:
        return shares
    rest = 1.0 - shares["test"]
    return {"train": shares["train"] / rest, "validation": shares["validation"] / rest, "test": 0.0}
