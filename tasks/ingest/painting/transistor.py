"""Paints one picture of a three-lead transistor on a perforated board, with the mask of its defect.

Every picture is drawn from geometry and random numbers alone; nothing is read from disk or written to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from tasks.ingest.painting.canvas import SIDE, Array, Pixels, resize
from tasks.ingest.painting.case import Chip
from tasks.ingest.painting.leads import bend, cut, lead_curve
from tasks.ingest.painting.look import draw_look, misplaced_pose
from tasks.ingest.painting.scene import Scene

GOOD, BENT, CUT, DAMAGED, MISPLACED = LABELS = (
    "good",
    "bent_lead",
    "cut_lead",
    "damaged_case",
    "misplaced",
)


@dataclass(frozen=True)
class Painting:
    """A finished picture (BGR) and the mask of its defect, 0 or 255; None for a good part."""

    image: Pixels
    mask: Pixels | None


def paint(rng: np.random.Generator, label: str) -> Painting:
    """Paint one picture of the class ``label``.

    Args:
        rng: the source of every random choice.
        label: one of ``LABELS``.
    """
    look = draw_look(rng)
    if label == MISPLACED:
        look = replace(look, pose=misplaced_pose(rng))
    curves = [lead_curve(rng, lead) for lead in range(3)]
    defect_curve, hurt = None, int(rng.integers(3))
    if label == BENT:
        curves[hurt] = defect_curve = bend(rng, curves[hurt], hurt)
    if label == CUT:
        curves[hurt], defect_curve = cut(rng, curves[hurt])
    chip = Chip.draw(rng) if label == DAMAGED else None

    scene = Scene(rng, look, seated=label != MISPLACED)
    defect = scene.paint_part(curves, chip)
    if defect_curve is not None:
        defect = scene.trace(defect_curve)
    if label == CUT:  # the rounded end of the stub is not missing
        defect = defect * (1 - scene.trace(curves[hurt]))
    image = scene.photograph()
    return Painting(image, None if label == GOOD else _finish_mask(defect))


def _finish_mask(coverage: Array) -> Pixels:
    small = resize(coverage, SIDE, cv2.INTER_AREA)
    return np.where(small > 0.5, 255, 0).astype(np.uint8)
