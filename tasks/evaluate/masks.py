"""True masks beside heat maps: the pixels of test images, counted by score."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_mask_bytes
from tasks.errors import SourceChanged
from tasks.metrics.anomaly import Flags, PixelCounts, Scores, count_pixels
from tasks.vision.heat_maps import HeatMap
from tasks.vision.images import ImageError
from tasks.vision.masks import MaskOptions, decode_foreground

LONGER_SIDE = 512
"""Pixels of an image's longer side on which masks and heat maps are compared; heat maps are far coarser."""
OPTIONS = MaskOptions()


def pixel_counts(root: Path, entries: Sequence[ImageEntry], heat_maps: Sequence[HeatMap | None]) -> PixelCounts | None:
    """Count the pixels of normal images, and of abnormal ones whose mask can be read; None without such a mask.

    Args:
        root: folder to which references are relative.
        entries: the images; those without labels are normal.
        heat_maps: of the images, in the same order.
    """
    counts = count_pixels(_pixels(root, entries, heat_maps))
    return counts if counts.masked_images else None


def _pixels(
    root: Path, entries: Sequence[ImageEntry], heat_maps: Sequence[HeatMap | None]
) -> Iterator[tuple[Scores, Flags]]:
    for entry, heat_map in zip(entries, heat_maps, strict=True):
        scale = min(1.0, LONGER_SIDE / max(entry.width, entry.height))
        width, height = max(1, round(entry.width * scale)), max(1, round(entry.height * scale))
        mask = true_mask(root, entry)
        if heat_map and mask is not None:
            fitted = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            yield heat_map.over(width, height), np.asarray(fitted > 0, np.bool_)


def true_mask(root: Path, entry: ImageEntry) -> NDArray[np.uint8] | None:
    """Return which pixels of an image are abnormal, height x width; None when nobody knows."""
    if not entry.truth.labels:
        return np.zeros((entry.height, entry.width), np.uint8)
    if not entry.mask_ref:
        return None
    try:
        return decode_foreground(read_mask_bytes(root, entry), entry.mask_classes, OPTIONS)
    except (ImageError, SourceChanged):
        return None
