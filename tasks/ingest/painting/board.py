"""The perforated board below the part, and the dust on everything."""

from __future__ import annotations

import cv2
import numpy as np

from tasks.ingest.painting.canvas import OVERSAMPLING, SIDE, Array, blend, carry_back, clouds, edge, resize
from tasks.ingest.painting.look import Look


def bare_board(rng: np.random.Generator, look: Look) -> Array:
    """Return the bare board at the finished size; its edges are soft, so that is enough."""
    middles = (np.arange(SIDE, dtype=np.float32) + 0.5) * OVERSAMPLING
    x, y = carry_back(look.camera, middles, middles)
    tone = 1 + 0.035 * clouds(rng, 7, x.shape) + 0.02 * clouds(rng, 90, x.shape)
    # Rolled metal and pressed paper both show streaks along the strips.
    streaks = rng.standard_normal((6, 240), dtype=np.float32)
    tone = tone + 0.018 * resize(streaks, SIDE, cv2.INTER_LINEAR)
    column = x - np.round(x)
    gap = np.abs(np.abs(column) - np.float32(0.5))
    tone = tone * (1 - look.groove * edge(gap - np.float32(0.055), 0.05))
    row = y / np.float32(look.row_pitch)
    row = (row - np.round(row)) * np.float32(look.row_pitch)
    image = np.asarray(tone[..., None] * look.board, np.float32)
    hole = np.hypot(column, row) - np.float32(look.hole_radius)
    facing = (column * look.light[0] + row * look.light[1]) / np.float32(look.hole_radius)
    rim = edge(np.abs(hole) - 0.025, 0.04) * facing
    image *= 1 + np.float32(0.28) * rim[..., None]
    depth = np.float32(0.07) + np.float32(0.07) * np.clip(facing, 0, 1)
    blend(image, depth[..., None] * np.array([1, 0.9, 0.85], np.float32), edge(hole, 0.035))
    return image


def scatter_dust(rng: np.random.Generator, look: Look, image: Array) -> None:
    """Lay specks and fibres on everything; they are harmless and mean nothing."""
    layer, fixed = np.zeros((SIDE, SIDE), np.uint8), 4  # bits after the point
    for _ in range(int(rng.integers(4, 14))):
        spot = (rng.uniform(0, SIDE, 2) * 2**fixed).astype(int).tolist()
        size, strength = int(rng.uniform(0.4, 1.4) * 2**fixed), int(rng.uniform(60, 190))
        cv2.circle(layer, spot, size, strength, -1, cv2.LINE_AA, fixed)
    for _ in range(int(rng.integers(0, 3))):
        heading = np.cumsum(rng.normal(0, 0.25, 14)) + rng.uniform(0, 2 * np.pi)
        steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * rng.uniform(1.5, 4)
        path = ((rng.uniform(0, SIDE, 2) + np.cumsum(steps, axis=0)) * 2**fixed).astype(int)
        strength = int(rng.uniform(60, 140))
        cv2.polylines(layer, [path.astype(np.int32)], False, strength, 1, cv2.LINE_AA, fixed)
    dust = look.grit * np.float32(rng.uniform(0.7, 1.4))
    blend(image, dust, layer.astype(np.float32) / np.float32(255))
