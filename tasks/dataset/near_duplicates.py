"""Pictures that show the same but for compression, size, brightness or contrast, found without comparing all.

A thumbnail stands for each picture. Candidates are nearest neighbours of a short fingerprint, a bounded number for
each picture; what decides is the difference of two thumbnails, cell by cell. A perceptual hash would not do: to it, all
pictures of a fixed camera look alike.

Measured on the 313 photographs of the MVTec transistors (512 px, one rig) and on the 150 painted ones of the demo set
(320 px), in grey levels. Re-saved as JPEG 60 to 95 or WebP 75, resized by 0.5 to 2, 5 % brighter or darker, with 5 %
more or less contrast, and smaller as well as JPEG 60: root mean square 2.4 at most, and 8.0 over 3 x 3 cells. Of two
different photographs the closest pair, two empty boards two pixels apart, differs by 7.1 and 24; of two painted ones
by 12.8 and 40. So 64 x 64 cells are enough, and the full pictures need not be read again. Resizing without any
filter leaves up to 3.8 and 13 on the sharp edges of the painted pictures: not found then.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tasks.vision.images import RgbImage

THUMBNAIL_SIDE = 64

MAX_RMS = 3.0
"""Root mean square of the difference, in grey levels."""
MAX_LOCAL = 10.0
"""Mean difference over any 3 x 3 cells, in grey levels: a defect of 16 of 512 px and 30 grey levels gives 13."""
MAX_RELATIVE_RMS = 0.15
"""Likewise, as a share of the contrast, so that pale pictures are not all alike; re-saved ones stay below 0.1."""
MIN_CONTRAST = 4.0
"""Standard deviation in grey levels below which a picture shows too little to be known again."""
MAX_GAIN = 1.1
MAX_OFFSET = 20.0
"""Of the mean, in grey levels; a change of 5 % is 13."""

_BLOCKS = 8
_DIMENSIONS = 10
"""Principal components kept of 8 x 8 block means: more make the search slow, fewer hide copies among look-alikes."""
_RADIUS = 0.15
"""Between fingerprints. Re-saved pictures are 0.13 apart at most, the closest different photographs 0.4."""
_FULL_CONTRAST = 16.0
"""Below, fingerprints are not stretched any further, or the noise would be."""
_NEIGHBOURS = 16
_LEADERS = 4
_FIRST_ROUND = 4096
_CHUNK = 512
"""Pictures or pairs at a time: 8 MB as floats."""

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """What is compared, in order of precedence.

    Attributes:
        cells: all thumbnails, (n, 64, 64).
        places: of the compared ones in `cells`, (m,).
        means: grey level of each, (m,).
        contrasts: standard deviation of each in grey levels, (m,).
        blocks: block means of each, levelled, (m, 64).
        prints: the strongest components of `blocks`, (m, 10).
    """

    cells: NDArray[np.uint8]
    places: Places
    means: NDArray[np.float32]
    contrasts: NDArray[np.float32]
    blocks: NDArray[np.float32]
    prints: NDArray[np.float32]


def thumbnail(image: RgbImage) -> NDArray[np.uint8]:
    """Return a picture as 64 x 64 grey cells, each the mean of its area; 0.4 ms for a megapixel."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def near_duplicate_pairs(thumbnails: NDArray[np.uint8], order: NDArray[np.integer] | None = None) -> Places:
    """Find pairs of near-duplicates.

    A picture is compared with its 16 nearest by fingerprint, and with more only as long as those are near-duplicates.
    So all pairs are found but where more than 16 pictures show the same: there each is found with the first of them
    in `order`, which is enough to group them.

    Args:
        thumbnails: (n, 64, 64), perhaps mapped from a file.
        order: the n places in order of precedence; as they stand when omitted.

    Returns:
        (pairs, 2) places, the smaller first, sorted.
    """
    pictures = _measured(thumbnails, np.arange(len(thumbnails)) if order is None else order)
    count = len(pictures.places)
    pairs, leaders, joined = [np.empty((0, 2), np.intp)], np.empty(0, np.intp), np.zeros(count, bool)
    start, end = 0, min(count, _FIRST_ROUND)
    # In rounds, each four times the last, so that pictures of a scene seen often join it without a search of their own.
    while start < count:
        of_leaders = _with_leaders(pictures, leaders, np.arange(start, end))
        joined[of_leaders[:, 1]] = True
        among, crowds, found = _among(pictures, np.flatnonzero(~joined[:end]))
        for crowd in crowds:
            joined[crowd[:, 1]] = True
        pairs += [of_leaders, among, *crowds]
        leaders = np.concatenate([leaders, found])
        start, end = end, min(count, 4 * end)
    return np.unique(np.sort(pictures.places[np.concatenate(pairs)], axis=1), axis=0)


def _measured(thumbnails: NDArray[np.uint8], order: NDArray[np.integer]) -> _Pictures:
    count, side = len(thumbnails), THUMBNAIL_SIDE // _BLOCKS
    means, contrasts = np.empty(count, np.float32), np.empty(count, np.float32)
    blocks = np.empty((count, _BLOCKS * _BLOCKS), np.float32)
    for part in _chunks(count):
        cells = thumbnails[part].astype(np.float32)
        means[part], contrasts[part] = cells.mean(axis=(1, 2)), cells.std(axis=(1, 2))
        blocks[part] = cells.reshape(-1, _BLOCKS, side, _BLOCKS, side).mean(axis=(2, 4)).reshape(len(cells), -1)
    places = order[contrasts[order] >= MIN_CONTRAST].astype(np.intp)
    means, contrasts, blocks = means[places], contrasts[places], blocks[places]
    blocks -= means[:, None]
    blocks /= np.maximum(contrasts, _FULL_CONTRAST)[:, None]
    # What all pictures of a fixed camera share goes here; what is left spreads them out.
    blocks -= blocks.sum(axis=0) / max(1, len(blocks))
    _, components = np.linalg.eigh(blocks.T @ blocks)
    return _Pictures(thumbnails, places, means, contrasts, blocks, blocks @ components[:, -_DIMENSIONS:])


def _with_leaders(pictures: _Pictures, leaders: Places, newcomers: Places) -> Places:
    if not len(leaders):
        return np.empty((0, 2), np.intp)
    tree = cKDTree(pictures.prints[leaders])
    distances, near = tree.query(
        pictures.prints[newcomers], k=range(1, _LEADERS + 1), distance_upper_bound=_RADIUS, workers=-1
    )
    row, column = np.nonzero(np.isfinite(distances))
    return _confirmed(pictures, np.stack([leaders[near[row, column]], newcomers[row]], axis=1))


def _among(pictures: _Pictures, places: Places) -> tuple[Places, list[Places], Places]:
    """Return pairs among some pictures, further pairs of each crowd with its leader, and these leaders."""
    tree = cKDTree(pictures.prints[places])
    distances, near = tree.query(tree.data, k=_NEIGHBOURS + 1, distance_upper_bound=_RADIUS, workers=-1)
    row, column = np.nonzero(np.isfinite(distances))
    candidates = np.sort(np.stack([places[row], places[near[row, column]]], axis=1), axis=1)
    candidates = np.unique(candidates[candidates[:, 0] < candidates[:, 1]], axis=0)
    pairs = _confirmed(pictures, candidates)
    found = np.bincount(pairs.ravel(), minlength=len(pictures.places))[places]
    crowded = places[np.isfinite(distances[:, -1]) & (found >= _NEIGHBOURS // 2)]
    crowds = list(_crowds(pictures, tree, places, pairs, frozenset(crowded.tolist()))) if len(crowded) else []
    return pairs, crowds, np.array([crowd[0, 0] for crowd in crowds], np.intp)


def _crowds(
    pictures: _Pictures, tree: cKDTree, places: Places, pairs: Places, crowded: frozenset[int]
) -> Iterator[Places]:
    """Go through pictures as grouping does, and yield all pairs of each leader that has more than its nearest."""
    joined: set[int] = set()
    starts = dict(zip(*(array.tolist() for array in np.unique(pairs[:, 0], return_index=True)), strict=True))
    ends = np.searchsorted(pairs[:, 0], np.arange(len(pictures.places)), side="right")
    for leader in np.unique(pairs).tolist():
        if leader in joined:
            continue
        followers = pairs[starts.get(leader, 0) : ends[leader] if leader in starts else 0]
        if leader in crowded:
            followers = _crowd(pictures, tree, places, leader)
            if len(followers):
                yield followers
        joined.update(followers[:, 1].tolist())


def _crowd(pictures: _Pictures, tree: cKDTree, places: Places, leader: int) -> Places:
    """Ask for four times as many neighbours while half of them or more are near-duplicates: the work is its result."""
    count = _NEIGHBOURS
    while True:
        count = min(4 * count, len(places))
        distances, near = tree.query(pictures.prints[leader], k=count, distance_upper_bound=_RADIUS)
        near = np.sort(places[near[np.isfinite(distances)]])
        pairs = _confirmed(pictures, np.stack([np.full_like(near, leader), near], axis=1))
        if len(near) < count or 2 * len(pairs) < count or count == len(places):
            return pairs[pairs[:, 1] > leader]


def _confirmed(pictures: _Pictures, pairs: Places) -> Places:
    same = np.zeros(len(pairs), bool)
    for part in _chunks(len(pairs)):
        first, second = pairs[part, 0], pairs[part, 1]
        apart = np.linalg.norm(pictures.blocks[first] - pictures.blocks[second], axis=1)
        gain = pictures.contrasts[first] / pictures.contrasts[second]
        close = (apart <= _RADIUS) & (gain <= MAX_GAIN) & (gain >= 1 / MAX_GAIN)
        close &= np.abs(pictures.means[first] - pictures.means[second]) <= MAX_OFFSET
        close[close] = _are_same(pictures, first[close], second[close])
        same[part] = close
    return pairs[same]


def _are_same(pictures: _Pictures, first: Places, second: Places) -> NDArray[np.bool_]:
    # Gain is shared out evenly, so that it does not matter which picture comes first.
    scale = np.sqrt(pictures.contrasts[first] * pictures.contrasts[second])
    difference = _standardised(pictures, first, scale) - _standardised(pictures, second, scale)
    rms = np.sqrt(np.square(difference).mean(axis=(1, 2)))
    same: NDArray[np.bool_] = rms <= np.minimum(MAX_RMS, MAX_RELATIVE_RMS * scale)
    same[same] = _largest_local(difference[same]) <= MAX_LOCAL
    return same


def _standardised(pictures: _Pictures, places: Places, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    cells = pictures.cells[pictures.places[places]].astype(np.float32)
    cells -= pictures.means[places, None, None]
    cells *= (scale / pictures.contrasts[places])[:, None, None]
    return cells


def _largest_local(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest mean over 3 x 3 cells, of either sign, for each picture."""
    rows = difference[:, :-2] + difference[:, 1:-1] + difference[:, 2:]
    boxes = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    largest: NDArray[np.float32] = np.abs(boxes).max(axis=(1, 2), initial=0)
    return largest


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, count, _CHUNK))
