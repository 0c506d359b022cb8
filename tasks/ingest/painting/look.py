"""What varies from picture to picture whatever the class: camera, pose, light, materials, dirt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.painting.canvas import CANVAS, OVERSAMPLING, Array

PART_CENTRE = (0.0, -1.5)  # hole pitches, as in canvas.py

# RGB in 0..1: bare copper, tinned copper, phenolic paper, olive lacquer.
BOARDS = np.array(
    [
        [0.66, 0.45, 0.37],
        [0.64, 0.55, 0.43],
        [0.52, 0.37, 0.24],
        [0.42, 0.44, 0.31],
    ],
    np.float32,
)


@dataclass(frozen=True)
class Look:
    """What varies from picture to picture whatever the class: camera, light, materials, dirt."""

    camera: NDArray[np.float64]  # 3 x 3, board to canvas
    pose: NDArray[np.float64]  # 3 x 3, part to board
    light: Array  # unit vector towards the lamp, z out of the board
    ambient: float
    gain: Array  # exposure and colour temperature, per channel
    slope: Array  # brightness change across the picture, x and y
    board: Array
    row_pitch: float
    hole_radius: float
    groove: float  # depth of the cut between strips, 0 to 1
    lead_width: float
    lead_tone: Array
    case_shade: Array
    grit: Array  # colour of prints, dust and broken resin alike, so that it tells no class
    marking: tuple[str, str]
    marking_strength: float
    blur: float  # px
    noise: float  # standard deviation, of 0..1

    @cached_property
    def halfway(self) -> Array:
        """The direction half-way between lamp and camera, where a surface shines."""
        towards = self.light + np.array([0, 0, 1], np.float32)
        return np.asarray(towards / np.linalg.norm(towards), np.float32)


def draw_look(rng: np.random.Generator) -> Look:
    """Choose camera, light, materials and dirt of one picture."""
    azimuth, height = rng.uniform(-2.8, -0.34), rng.uniform(0.8, 1.15)
    light = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    warmth = rng.normal(0, 0.022)
    gain = rng.uniform(0.9, 1.1) * np.array([1 + warmth, 1.0, 1 - warmth])
    mix = rng.dirichlet(np.full(len(BOARDS), 0.7))
    digits = "".join(map(str, rng.integers(0, 10, 5)))
    letters = "".join(rng.choice(list("ABCEHKNSX"), 3))
    return Look(
        camera=_draw_camera(rng),
        pose=_rigid(rng.normal(0, 0.9), rng.normal(0, 0.03, 2), PART_CENTRE),
        light=light.astype(np.float32),
        ambient=float(rng.uniform(0.45, 0.65)),
        gain=gain.astype(np.float32),
        slope=rng.uniform(-0.13, 0.13, 2).astype(np.float32),
        board=(mix @ BOARDS * rng.uniform(0.74, 1.0)).astype(np.float32),
        row_pitch=float(rng.uniform(0.98, 1.02)),
        hole_radius=float(rng.uniform(0.155, 0.205)),
        groove=float(rng.uniform(0.4, 0.55)),
        lead_width=float(rng.uniform(0.19, 0.235)),
        lead_tone=(0.80 + rng.normal(0, 0.03) + rng.normal(0, 0.016, 3)).astype(np.float32),
        case_shade=(rng.uniform(0.09, 0.2) + rng.normal(0, 0.008, 3)).astype(np.float32),
        grit=(rng.uniform(0.42, 0.58) + np.array([0.025, 0.0, -0.03])).astype(np.float32),
        marking=(letters[:2] + digits[:3], letters[2] + digits[3:]),
        marking_strength=float(rng.uniform(0.12, 0.32)),
        blur=float(rng.uniform(0.35, 0.7)),
        noise=float(rng.uniform(0.004, 0.011)),
    )


def _draw_camera(rng: np.random.Generator) -> NDArray[np.float64]:
    scale = rng.uniform(71, 74) * OVERSAMPLING  # canvas px per pitch
    centre = CANVAS / 2 + rng.uniform(-4, 4, 2) * OVERSAMPLING
    turn = _rigid(rng.normal(0, 1.0), (-PART_CENTRE[0], -PART_CENTRE[1]), PART_CENTRE)
    zoom = np.array([[scale, 0, centre[0]], [0, scale, centre[1]], [0, 0, 1]])
    return np.asarray(zoom @ turn, np.float64)


def _rigid(
    degrees: float, shift: NDArray[np.float64] | tuple[float, float], about: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the 3 x 3 matrix that turns around ``about`` and then shifts."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y = about
    return np.array(
        [
            [cos, -sin, x - cos * x + sin * y + shift[0]],
            [sin, cos, y - sin * x - cos * y + shift[1]],
            [0, 0, 1],
        ]
    )


def misplaced_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """Turned askew, fallen sideways or upside down, always with a shift."""
    turn = rng.choice([rng.uniform(28, 55), rng.uniform(80, 100), rng.uniform(165, 180)])
    angle = rng.uniform(0, 2 * np.pi)
    shift = rng.uniform(0.1, 0.32) * np.array([np.cos(angle), np.sin(angle)])
    return _rigid(float(turn * rng.choice([-1, 1])), shift, PART_CENTRE)
