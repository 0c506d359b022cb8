"""Which image is trained on, validated on and tested on.

Splits are lineage: an assignment once made holds in every later version. New groups are ranked by a hash of their
content within their stratum, so each label gets its share and the outcome depends on nothing but the images.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import SPLITS, ImageEntry, Split

SHARES_BY_SCHEME: dict[str, dict[Split, float]] = {
    "70/15/15": {"train": 0.70, "validation": 0.15, "test": 0.15},
    "80/20": {"train": 0.80, "validation": 0.0, "test": 0.20},
}
MIN_COMBINATION_GROUPS = 5
"""From this size on, every split of 70/15/15 gets a group of a stratum."""
UNASSIGNED = -1
_ROUNDING_ORDER: tuple[Split, ...] = ("test", "validation", "train")
_CODE_BY_PLACE = np.array([SPLITS.index(split) for split in _ROUNDING_ORDER], np.int8)

LabelSet = tuple[str, ...]


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
    labels = _labels_by_group(entries)
    stratum_by_labels = strata_of(Counter(labels.values()))
    numbers: dict[LabelSet, int] = {}
    strata = [numbers.setdefault(stratum_by_labels[found], len(numbers)) for found in labels.values()]
    held = [SPLITS.index(earlier[group]) if group in earlier else UNASSIGNED for group in labels]
    ranks = [hashlib.sha256(group.encode()).digest() for group in labels]
    codes = assign_ranked(np.array(ranks, "S32"), np.array(strata, np.intp), shares, np.array(held, np.int8))
    return {group: SPLITS[code] for group, code in zip(labels, codes.tolist(), strict=True)}


def assign_ranked(
    ranks: NDArray[np.bytes_] | NDArray[np.uint8],
    strata: NDArray[np.integer],
    shares: Mapping[Split, float],
    held: NDArray[np.int8] | None = None,
) -> NDArray[np.int8]:
    """Assign n groups to splits; a million take 0.3 s and 45 MB beside the arguments.

    Args:
        ranks: digests, (n,) of fixed width or (n, bytes) of uint8; within a stratum the smallest are tested on, the
            next validated on, the rest trained on.
        strata: (n,) from 0 to the number of strata less 1.
        shares: fraction of each stratum per split, summing to 1.
        held: (n,) places in `SPLITS` that groups already have, or `UNASSIGNED`; they are kept, and count.

    Returns:
        (n,) places in `SPLITS`.
    """
    codes = np.full(len(strata), UNASSIGNED, np.int8) if held is None else held.copy()
    ordered = np.argsort(_as_bytes(ranks), kind="stable")
    ordered = ordered[np.argsort(strata[ordered], kind="stable")]
    new = ordered[codes[ordered] == UNASSIGNED]
    ends = np.cumsum(_missing(strata, codes, shares), axis=1)
    of_new = strata[new]
    counts = np.bincount(of_new, minlength=len(ends))
    position = np.arange(len(new)) - (np.cumsum(counts) - counts)[of_new]
    # Earlier versions may hold more than their share of one split; the rest then falls short by as much.
    place = (position >= ends[of_new, 0]).astype(np.int8) + (position >= ends[of_new, 1])
    codes[new] = _CODE_BY_PLACE[place]
    return codes


def split_sizes(count: int, shares: Mapping[Split, float]) -> dict[Split, int]:
    """Divide `count` by `shares` with the largest remainder; a tie goes to test, then validation."""
    exact = {split: count * shares[split] for split in SPLITS}
    sizes = {split: int(exact[split] + 1e-9) for split in SPLITS}
    by_remainder = sorted(_ROUNDING_ORDER, key=lambda split: round(sizes[split] - exact[split], 9))
    for split in by_remainder[: count - sum(sizes.values())]:
        sizes[split] += 1
    return sizes


def strata_of(groups: Mapping[LabelSet, int]) -> dict[LabelSet, LabelSet]:
    """Return the stratum of each label set, given how many groups have it.

    A set is its own stratum, but a rare combination of several labels counts as the rarest of them. Left alone, most
    images of a detection set would be strata of one or two, which rounding trains on; so neither test nor validation
    would hold its share, and the labels that are seen only beside others would never be tested. By the rarest label,
    because a frequent one has its share anyway. Single labels are never pooled: a label of two groups is learned
    from before it is tested on.
    """
    groups_of_label: Counter[str] = Counter()
    for labels, count in groups.items():
        groups_of_label.update(dict.fromkeys(labels, count))
    return {
        labels: labels
        if len(labels) < 2 or count >= MIN_COMBINATION_GROUPS
        else (min(labels, key=lambda label: (groups_of_label[label], label)),)
        for labels, count in groups.items()
    }


def _labels_by_group(entries: Iterable[ImageEntry]) -> dict[str, LabelSet]:
    labels: dict[str, LabelSet] = {}
    for entry in sorted(entries, key=lambda entry: entry.source_ref):
        labels.setdefault(entry.group, entry.truth.labels)
    return labels


def _missing(strata: NDArray[np.integer], codes: NDArray[np.int8], shares: Mapping[Split, float]) -> NDArray[np.intp]:
    """Return how many groups each stratum still lacks, (strata, splits in the order of rounding)."""
    counts = np.bincount(strata)
    distinct, which = np.unique(counts, return_inverse=True)
    sizes = [[split_sizes(count, shares)[split] for split in _ROUNDING_ORDER] for count in distinct.tolist()]
    held = np.stack([np.bincount(strata[codes == code], minlength=len(counts)) for code in _CODE_BY_PLACE], axis=1)
    missing: NDArray[np.intp] = np.array(sizes, np.intp).reshape(-1, len(SPLITS))[which] - held
    return missing.clip(min=0)


def _as_bytes(ranks: NDArray[np.bytes_] | NDArray[np.uint8]) -> NDArray[np.bytes_]:
    if ranks.ndim == 1:
        return ranks  # type: ignore[return-value] # one dimension holds bytes
    # Items of one width compare like the bytes they are made of, though NumPy does not show their last zeros.
    return np.ascontiguousarray(ranks).view(f"S{ranks.shape[1]}").ravel()
