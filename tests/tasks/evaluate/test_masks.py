"""Masks and heat maps meet on the same pixels; what is not known does not count."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.evaluate import masks as masks_module
from tasks.evaluate.masks import pixel_counts
from tasks.metrics.anomaly import pixel_auroc
from tasks.vision.heat_maps import HeatMap
from tasks.vision.masks import MaskClass
from tests.makers import png_bytes

SIDE = 40
HOT = np.zeros((4, 4), np.float32)
HOT[0, 0] = 9.0


def entry(root: Path, name: str, *, has_mask: bool = False, is_normal: bool = False) -> ImageEntry:
    mask_ref, digest = "", ""
    if has_mask:
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:10, :10] = 255
        (root / f"{name}_mask.png").write_bytes(png_bytes(mask))
        mask_ref = f"{name}_mask.png"
        digest = hashlib.sha256((root / mask_ref).read_bytes()).hexdigest()
    truth = Truth((), ()) if is_normal else Truth(("anomaly",))
    classes = (MaskClass("cut"),) if has_mask else ()
    return ImageEntry(
        f"{name}.png", "0" * 64, SIDE, SIDE, truth, mask_ref=mask_ref, mask_classes=classes, mask_sha256=digest
    )


def test_only_what_is_known_is_counted(tmp_path: Path) -> None:
    entries = [
        entry(tmp_path, "masked", has_mask=True),
        entry(tmp_path, "normal", is_normal=True),
        entry(tmp_path, "unmasked"),
    ]
    heat = HeatMap.of(HOT)
    counts = pixel_counts(tmp_path, entries, [heat, HeatMap.of(0 * HOT), heat])
    assert (int(counts.normal.sum()), int(counts.abnormal.sum())) == (2 * SIDE**2 - 100, 100)
    assert (counts.regions, counts.masked_images) == (1, 1)
    assert pixel_auroc(counts) > 0.99
    assert pixel_counts(tmp_path, entries[1:], [heat, heat]) is None


def test_large_images_are_compared_on_fewer_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks_module, "LONGER_SIDE", 20)
    counts = pixel_counts(tmp_path, [entry(tmp_path, "masked", has_mask=True)], [HeatMap.of(HOT)])
    assert (int(counts.normal.sum()), int(counts.abnormal.sum())) == (20**2 - 25, 25)
