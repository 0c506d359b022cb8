"""The centre lines of the leads: sound, bent or cut, and how far points lie from them."""

from __future__ import annotations

import numpy as np

from tasks.ingest.painting.canvas import REACH, Array, Patch

LEAD_TOP = -1.35  # just under the lower edge of the case
LEAD_EXITS = (-0.52, 0.0, 0.52)
LEAD_HOLES = (-1.0, 0.0, 1.0)
CURVE_POINTS = 28


def lead_curve(rng: np.random.Generator, lead: int) -> Array:
    """Return the centre line of a sound lead, from the case to its hole: points x 2."""
    exit_x, hole_x = LEAD_EXITS[lead], LEAD_HOLES[lead]
    anchors = np.array([[exit_x, LEAD_TOP], [exit_x, -0.72], [hole_x, -0.78], [hole_x, 0.02]])
    anchors += rng.normal(0, 1, (4, 2)) * [[0.01, 0], [0.03, 0.04], [0.03, 0.04], [0.02, 0.02]]
    t = np.linspace(0, 1, CURVE_POINTS)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return np.asarray(weights @ anchors, np.float32)


def bend(rng: np.random.Generator, curve: Array, lead: int) -> Array:
    """Swing the lower half of a lead sideways; outer leads swing outwards."""
    # Seen from above, y down: a positive turn moves the lower end to the left.
    side = (1, rng.choice([-1, 1]), -1)[lead]
    start = int(rng.integers(9, 13))
    total = np.radians(rng.uniform(62, 88)) * side
    steps = np.diff(curve, axis=0)
    turn = total * np.clip((np.arange(len(steps)) - start) / 4, 0, 1)
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.stack([cos * steps[:, 0] - sin * steps[:, 1], sin * steps[:, 0] + cos * steps[:, 1]], axis=1)
    return np.vstack([curve[:1], curve[:1] + np.cumsum(turned, axis=0)]).astype(np.float32)


def cut(rng: np.random.Generator, curve: Array) -> tuple[Array, Array]:
    """Split a lead into the stub that stays and the piece that is missing."""
    end = int(rng.integers(6, 10))
    return curve[:end], curve[end:]


def curve_distance(patch: Patch, curve: Array) -> tuple[Array, Array]:
    """Return distance to a curve, signed by side, and the place along it from 0 to 1.

    Points further away than ``REACH`` get that distance.
    """
    ends = curve @ patch.frame[:2, :2].T + patch.frame[:2, 2]
    steps = np.diff(curve, axis=0)
    best = np.full(patch.x.shape, REACH, np.float32)
    signed, place = best.copy(), np.zeros_like(best)
    for index, (start, step) in enumerate(zip(curve[:-1], steps, strict=True)):
        near = patch.around(ends[index : index + 2])
        px, py = patch.x[near] - start[0], patch.y[near] - start[1]
        along = (px * step[0] + py * step[1]) / (step @ step)
        along = np.minimum(np.maximum(along, 0), 1)
        distance = np.hypot(px - along * step[0], py - along * step[1])
        nearer = distance < best[near]
        side = np.where(px * step[1] - py * step[0] < 0, np.float32(-1), np.float32(1))
        np.copyto(best[near], distance, where=nearer)
        np.copyto(signed[near], distance * side, where=nearer)
        np.copyto(place[near], (index + along) / len(steps), where=nearer)
    return signed, place
