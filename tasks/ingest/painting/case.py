"""The case: its outline, what is printed on it, and a piece broken out of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.ingest.painting.canvas import Array, Patch

# In hole pitches; the middle lead's hole is the origin, and y points down the leads.
CASE_CENTRE = (0.0, -2.15)
CASE_HALF = (0.94, 0.92)
CASE_CORNER = 0.07


@dataclass(frozen=True)
class Chip:
    """A piece broken out of the case: an uneven blob around a point of the part."""

    centre: tuple[float, float]
    radii: Array  # at evenly spaced angles
    open_edge: bool  # broken right through at the outline, so that the board shows

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Chip:
        """Choose a corner, an edge or the face of the case, and an uneven outline."""
        across, down = rng.choice([-1, 1], 2)
        kind = rng.choice(["corner", "edge", "face"], p=[0.6, 0.2, 0.2])
        if kind == "corner":
            spot = np.array([across * 0.9, down * 0.9])
        elif kind == "edge":
            spot = np.array([across * 0.95, rng.uniform(-0.5, 0.5)])
        else:
            spot = np.array([across * rng.uniform(0.2, 0.45), down * rng.uniform(0.25, 0.55)])
        size = rng.uniform(0.42, 0.52) if kind == "face" else rng.uniform(0.66, 0.82)
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        uneven = sum(rng.normal(0, 0.22 / k) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in range(2, 8))
        radii = size * np.clip(1 + uneven, 0.6, 1.5)
        centre = np.array(CASE_CENTRE) + spot * CASE_HALF
        return cls((centre[0], centre[1]), radii.astype(np.float32), kind != "face")

    def depth(self, x: Array, y: Array) -> Array:
        """Return how far inside the outline each point lies; negative outside."""
        x, y = x - np.float32(self.centre[0]), y - np.float32(self.centre[1])
        where = np.arctan2(y, x) / (2 * np.pi) * len(self.radii)
        radius = np.interp(where, np.arange(len(self.radii)), self.radii, period=len(self.radii))
        return np.asarray(radius - np.hypot(x, y), np.float32)


def box_distance(x: Array, y: Array) -> Array:
    """Return the signed distance to the outline of the case, negative inside."""
    over_x = np.abs(x - CASE_CENTRE[0]) - np.float32(CASE_HALF[0] - CASE_CORNER)
    over_y = np.abs(y - CASE_CENTRE[1]) - np.float32(CASE_HALF[1] - CASE_CORNER)
    outside = np.hypot(np.maximum(over_x, 0), np.maximum(over_y, 0))
    inside = np.minimum(np.maximum(over_x, over_y), 0)
    return np.asarray(outside + inside - np.float32(CASE_CORNER), np.float32)


def marking(patch: Patch, lines: tuple[str, str]) -> Array:
    """Return the coverage of the two printed lines on the case."""
    size = 240
    sheet = np.zeros((size, size), np.uint8)
    for text, y in zip(lines, (110, 170), strict=True):
        (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.35, 3)
        spot = ((size - width) // 2, y)
        cv2.putText(sheet, text, spot, cv2.FONT_HERSHEY_DUPLEX, 1.35, 255, 3, cv2.LINE_AA)
    scale = 2 * CASE_HALF[0] / size
    left, top = CASE_CENTRE[0] - CASE_HALF[0], CASE_CENTRE[1] - CASE_HALF[0]
    u = (patch.x - np.float32(left)) / np.float32(scale)
    v = (patch.y - np.float32(top)) / np.float32(scale)
    printed = cv2.remap(sheet, u, v, cv2.INTER_LINEAR)
    return np.asarray(printed, np.float32) / np.float32(255)
