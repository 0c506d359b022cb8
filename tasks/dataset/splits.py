"""Which image is trained on, validated on and tested on.

Splits are lineage: an assignment once made holds in every later version. New groups are ranked by a hash of their
content within their stratum, so each label gets its share and the outcome depends on nothing but the images.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from tasks.dataset.entries import SPLITS, ImageEntry, Split

SHARES_BY_SCHEME: dict[str, dict[Split, float]] = {
    "70/15/15": {"train": 0.70, "validation": 0.15, "test": 0.15},
    "80/20": {"train": 0.80, "validation": 0.0, "test": 0.20},
}
_ROUNDING_ORDER: tuple[Split, ...] = ("test", "validation", "train")


def assign_splits(
    entries: Iterable[ImageEntry], shares: Mapping[Split, float], earlier: Mapping[str, Split]
) -> dict[str, Split]:
    """Assign every group of `entries` to a split.

    Args:
        entries: the dataset's images; a group's stratum is that of its member with the smallest source reference.
        shares: fraction of each stratum per split, summing to 1.
        earlier: group to split, from earlier versions; these win.

    Returns:
        Group to split, for the groups of `entries` only.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    for group, stratum in _stratum_by_group(entries).items():
        strata[stratum].append(group)
    assigned: dict[str, Split] = {}
    for groups in strata.values():
        assigned.update(_assign_stratum(groups, shares, earlier))
    return assigned


def split_sizes(count: int, shares: Mapping[Split, float]) -> dict[Split, int]:
    """Divide `count` by `shares` with the largest remainder; a tie goes to test, then validation."""
    exact = {split: count * shares[split] for split in SPLITS}
    sizes = {split: int(exact[split] + 1e-9) for split in SPLITS}
    by_remainder = sorted(_ROUNDING_ORDER, key=lambda split: round(sizes[split] - exact[split], 9))
    for split in by_remainder[: count - sum(sizes.values())]:
        sizes[split] += 1
    return sizes


def _stratum_by_group(entries: Iterable[ImageEntry]) -> dict[str, str]:
    strata: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.source_ref):
        strata.setdefault(entry.group, entry.truth.stratum)
    return strata


def _assign_stratum(groups: list[str], shares: Mapping[Split, float], earlier: Mapping[str, Split]) -> dict[str, Split]:
    assigned = {group: earlier[group] for group in groups if group in earlier}
    ranked = sorted((group for group in groups if group not in earlier), key=_rank)
    sizes = split_sizes(len(groups), shares)
    held = list(assigned.values())
    wanted: list[Split] = []
    for split in _ROUNDING_ORDER:
        wanted += [split] * max(0, sizes[split] - held.count(split))
    # Earlier versions may hold more than their share of one split; the rest then falls short by as much.
    wanted = wanted[: len(ranked)]
    assigned.update(zip(ranked, wanted, strict=True))
    return assigned


def _rank(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()
