"""Paints one picture of a three-lead transistor on a perforated board, with the mask of its defect.

Every picture is drawn from geometry and random numbers alone; nothing is read from disk or written to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

GOOD, BENT, CUT, DAMAGED, MISPLACED = LABELS = (
    "good",
    "bent_lead",
    "cut_lead",
    "damaged_case",
    "misplaced",
)

SIDE = 320  # px, of the finished square picture
OVERSAMPLING = 2  # canvas pixels per finished pixel, along one side
CANVAS = SIDE * OVERSAMPLING  # px

# Lengths below are in hole pitches. The middle lead's hole is the origin; y points down the leads.
CASE_CENTRE = (0.0, -2.15)
CASE_HALF = (0.94, 0.92)
CASE_CORNER = 0.07
PART_CENTRE = (0.0, -1.5)
LEAD_TOP = -1.35  # just under the lower edge of the case
LEAD_EXITS = (-0.52, 0.0, 0.52)
LEAD_HOLES = (-1.0, 0.0, 1.0)
CURVE_POINTS = 28
REACH = 0.2  # how far from its centre line a lead is looked for

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
class Painting:
    """A finished picture (BGR) and the mask of its defect, 0 or 255; None for a good part."""

    image: Pixels
    mask: Pixels | None


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


@dataclass(frozen=True)
class Patch:
    """A rectangle of the canvas, and the part coordinates of each of its pixels."""

    window: tuple[slice, slice]
    x: Array
    y: Array
    frame: NDArray[np.float64]  # 3 x 3, part to canvas

    def around(self, ends: NDArray[np.float64]) -> tuple[slice, slice]:
        """Return the window of the patch within ``REACH`` of a short segment of the canvas."""
        reach = REACH * float(np.hypot(*self.frame[:2, 0]))
        columns, rows = self.window[1].start, self.window[0].start
        x0, y0 = np.maximum(ends.min(0) - reach - (columns, rows), 0).astype(int)
        x1, y1 = np.maximum(ends.max(0) + reach + 1 - (columns, rows), 0).astype(int)
        return slice(y0, y1), slice(x0, x1)


def paint(rng: np.random.Generator, label: str) -> Painting:
    """Paint one picture of the class ``label``.

    Args:
        rng: the source of every random choice.
        label: one of ``LABELS``.
    """
    look = _draw_look(rng)
    if label == MISPLACED:
        look = replace(look, pose=_misplaced_pose(rng))
    curves = [_lead_curve(rng, lead) for lead in range(3)]
    defect_curve, hurt = None, int(rng.integers(3))
    if label == BENT:
        curves[hurt] = defect_curve = _bend(rng, curves[hurt], hurt)
    if label == CUT:
        curves[hurt], defect_curve = _cut(rng, curves[hurt])
    chip = Chip.draw(rng) if label == DAMAGED else None

    scene = _Scene(rng, look, seated=label != MISPLACED)
    defect = scene.paint_part(curves, chip)
    if defect_curve is not None:
        defect = scene.trace(defect_curve)
    if label == CUT:  # the rounded end of the stub is not missing
        defect = defect * (1 - scene.trace(curves[hurt]))
    image = scene.photograph()
    return Painting(image, None if label == GOOD else _finish_mask(defect))


def _finish_mask(coverage: Array) -> Pixels:
    small = _resize(coverage, SIDE, cv2.INTER_AREA)
    return np.where(small > 0.5, 255, 0).astype(np.uint8)


# --- random choices -----------------------------------------------------------------------------


def _draw_look(rng: np.random.Generator) -> Look:
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


def _misplaced_pose(rng: np.random.Generator) -> NDArray[np.float64]:
    """Turned askew, fallen sideways or upside down, always with a shift."""
    turn = rng.choice([rng.uniform(28, 55), rng.uniform(80, 100), rng.uniform(165, 180)])
    angle = rng.uniform(0, 2 * np.pi)
    shift = rng.uniform(0.1, 0.32) * np.array([np.cos(angle), np.sin(angle)])
    return _rigid(float(turn * rng.choice([-1, 1])), shift, PART_CENTRE)


def _lead_curve(rng: np.random.Generator, lead: int) -> Array:
    """Return the centre line of a sound lead, from the case to its hole: points x 2."""
    exit_x, hole_x = LEAD_EXITS[lead], LEAD_HOLES[lead]
    anchors = np.array([[exit_x, LEAD_TOP], [exit_x, -0.72], [hole_x, -0.78], [hole_x, 0.02]])
    anchors += rng.normal(0, 1, (4, 2)) * [[0.01, 0], [0.03, 0.04], [0.03, 0.04], [0.02, 0.02]]
    t = np.linspace(0, 1, CURVE_POINTS)[:, None]
    weights = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return np.asarray(weights @ anchors, np.float32)


def _bend(rng: np.random.Generator, curve: Array, lead: int) -> Array:
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


def _cut(rng: np.random.Generator, curve: Array) -> tuple[Array, Array]:
    """Split a lead into the stub that stays and the piece that is missing."""
    end = int(rng.integers(6, 10))
    return curve[:end], curve[end:]


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


# --- surfaces -----------------------------------------------------------------------------------


def _clouds(rng: np.random.Generator, cells: int, shape: tuple[int, ...]) -> Array:
    """Return smooth noise of unit strength, ``cells`` lumps along a side."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _resize(image: Array, side: int, how: int) -> Array:
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.float32)


def _carry_back(frame: NDArray[np.float64], columns: Array, rows: Array) -> tuple[Array, Array]:
    """Return the coordinates, before ``frame``, of a grid of canvas points."""
    back = np.linalg.inv(frame).astype(np.float32)
    x = back[0, 0] * columns + back[0, 1] * rows[:, None] + back[0, 2]
    y = back[1, 0] * columns + back[1, 1] * rows[:, None] + back[1, 2]
    return x, y


def _blank() -> Array:
    return np.zeros((CANVAS, CANVAS), np.float32)


def _edge(distance: Array, softness: float) -> Array:
    """Return coverage: 1 inside (negative distance), 0 outside, a ramp of ``softness`` between."""
    return np.asarray(np.clip(0.5 - distance / np.float32(softness), 0, 1), np.float32)


def _blend(image: Array, colour: Array, coverage: Array) -> None:
    image += coverage[..., None] * (colour - image)


def _box_distance(x: Array, y: Array) -> Array:
    """Return the signed distance to the outline of the case, negative inside."""
    over_x = np.abs(x - CASE_CENTRE[0]) - np.float32(CASE_HALF[0] - CASE_CORNER)
    over_y = np.abs(y - CASE_CENTRE[1]) - np.float32(CASE_HALF[1] - CASE_CORNER)
    outside = np.hypot(np.maximum(over_x, 0), np.maximum(over_y, 0))
    inside = np.minimum(np.maximum(over_x, over_y), 0)
    return np.asarray(outside + inside - np.float32(CASE_CORNER), np.float32)


def _curve_distance(patch: Patch, curve: Array) -> tuple[Array, Array]:
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


class _Scene:
    """The canvas while one picture is painted, from the board up to the dust."""

    def __init__(self, rng: np.random.Generator, look: Look, seated: bool) -> None:
        """Choose camera and materials; ``seated`` leads go down into their holes."""
        self.rng, self.look, self.seated = rng, look, seated
        self.part = look.camera @ look.pose
        self.pixel = 1 / float(np.hypot(*look.camera[:2, 0]))  # in hole pitches
        self.image = np.zeros((CANVAS, CANVAS, 3), np.float32)

    def paint_part(self, curves: list[Array], chip: Chip | None) -> Array:
        """Paint board, shadows, leads and case; return what the chip covers, or else the part."""
        leads = [(patch, *_curve_distance(patch, c)) for c in curves for patch in [self._around(c)]]
        case = self._patch(np.array(CASE_CENTRE) + np.outer([-1, 1], CASE_HALF), margin=0.1)
        outline = _edge(_box_distance(case.x, case.y), self.pixel * 1.5)
        covered = outline * (1 - self._missing(case, chip))
        high, low = _blank(), _blank()
        high[case.window] = covered
        for patch, signed, _ in leads:
            np.maximum(low[patch.window], self._lead_cover(signed), out=low[patch.window])
        ground = self._board()
        ground *= (self._shadow(high, reach=0.16) * self._shadow(low, reach=0.07))[..., None]
        self.image = _resize(ground, CANVAS, cv2.INTER_LINEAR)
        for patch, signed, place in leads:
            self._paint_lead(patch, signed, place)
        self._paint_case(case, covered, chip)
        if chip is None:
            return np.maximum(high, low)
        broken = _blank()
        broken[case.window] = outline * _edge(-chip.depth(case.x, case.y), self.pixel)
        return broken

    def trace(self, curve: Array) -> Array:
        """Return the coverage of one lead outside the case."""
        patch = self._around(curve)
        traced = _blank()
        signed, _ = _curve_distance(patch, curve)
        below = _edge(-_box_distance(patch.x, patch.y), self.pixel)
        traced[patch.window] = self._lead_cover(signed) * below
        return traced

    def photograph(self) -> Pixels:
        """Reduce the canvas to a picture: light falloff, exposure, blur, sensor noise; BGR."""
        look = self.look
        small = _resize(self.image, SIDE, cv2.INTER_AREA)
        self._scatter_dust(small)
        line = np.linspace(-1, 1, SIDE, dtype=np.float32)
        falloff = 1 + look.slope[0] * line[None, :] + look.slope[1] * line[:, None]
        falloff = falloff - np.float32(0.07) * (line[None, :] ** 2 + line[:, None] ** 2)
        lit = cv2.GaussianBlur(small * falloff[..., None] * look.gain, (0, 0), look.blur)
        grain = self.rng.standard_normal(small.shape, dtype=np.float32)
        levels = (lit + grain * np.float32(look.noise)) * 255 + 0.5
        return np.asarray(np.clip(levels[..., ::-1], 0, 255), np.uint8)

    # --- layers ---

    def _board(self) -> Array:
        """Return the bare board at the finished size; its edges are soft, so that is enough."""
        look, rng = self.look, self.rng
        middles = (np.arange(SIDE, dtype=np.float32) + 0.5) * OVERSAMPLING
        x, y = _carry_back(look.camera, middles, middles)
        tone = 1 + 0.035 * _clouds(rng, 7, x.shape) + 0.02 * _clouds(rng, 90, x.shape)
        # Rolled metal and pressed paper both show streaks along the strips.
        streaks = rng.standard_normal((6, 240), dtype=np.float32)
        tone = tone + 0.018 * _resize(streaks, SIDE, cv2.INTER_LINEAR)
        column = x - np.round(x)
        gap = np.abs(np.abs(column) - np.float32(0.5))
        tone = tone * (1 - look.groove * _edge(gap - np.float32(0.055), 0.05))
        row = y / np.float32(look.row_pitch)
        row = (row - np.round(row)) * np.float32(look.row_pitch)
        image = np.asarray(tone[..., None] * look.board, np.float32)
        hole = np.hypot(column, row) - np.float32(look.hole_radius)
        facing = (column * look.light[0] + row * look.light[1]) / np.float32(look.hole_radius)
        rim = _edge(np.abs(hole) - 0.025, 0.04) * facing
        image *= 1 + np.float32(0.28) * rim[..., None]
        depth = np.float32(0.07) + np.float32(0.07) * np.clip(facing, 0, 1)
        _blend(image, depth[..., None] * np.array([1, 0.9, 0.85], np.float32), _edge(hole, 0.035))
        return image

    def _shadow(self, shape: Array, reach: float) -> Array:
        """Return the light that ``shape`` leaves on the board, ``reach`` pitches below it."""
        small = _resize(shape, SIDE, cv2.INTER_AREA)
        unit = reach / self.pixel / OVERSAMPLING  # finished px
        shift = -self.look.light[:2].astype(np.float64) * unit / float(self.look.light[2])
        move = np.hstack([np.eye(2), shift[:, None]])
        moved = cv2.warpAffine(small, move, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        soft = cv2.GaussianBlur(moved, (0, 0), 0.35 * unit)
        return 1 - np.float32(0.55) * np.asarray(soft, np.float32)

    def _lead_cover(self, signed: Array) -> Array:
        return _edge(np.abs(signed) - np.float32(self.look.lead_width / 2), self.pixel * 1.2)

    def _paint_lead(self, patch: Patch, signed: Array, place: Array) -> None:
        look = self.look
        across = np.clip(signed / np.float32(look.lead_width / 2), -1, 1)
        tilt = np.sign(across) * np.abs(across) ** 3  # rolled flat, round only at the edges
        wear = _clouds(self.rng, 9, tilt.shape) * np.float32(0.16)
        shade = self._shade(0.8 * tilt * look.light[0] + wear, wear - 0.3 * tilt, shine=14)
        colour = look.lead_tone * shade[..., None]
        if self.seated:  # the end goes down into the hole, out of the light
            sunk = (np.hypot(patch.x - np.round(patch.x), patch.y) < look.hole_radius) & (place > 0.8)
            colour *= np.where(sunk, 1 - 0.62 * np.clip((place - 0.86) / 0.14, 0, 1), 1)[..., None]
        _blend(self.image[patch.window], colour.astype(np.float32), self._lead_cover(signed))

    def _paint_case(self, patch: Patch, coverage: Array, chip: Chip | None) -> None:
        look = self.look
        x = (patch.x - np.float32(CASE_CENTRE[0])) / np.float32(CASE_HALF[0])
        y = (patch.y - np.float32(CASE_CENTRE[1])) / np.float32(CASE_HALF[1])
        # A flat face between two rounded flanks, and a narrow bevel all around.
        tilt_x = 0.75 * np.sign(x) * np.clip((np.abs(x) - 0.55) / 0.45, 0, 1)
        tilt_y = 0.6 * np.sign(y) * np.clip((np.abs(y) - 0.93) / 0.07, 0, 1)
        rough = _clouds(self.rng, 110, x.shape) * np.float32(0.05)
        ring = np.hypot(x, y + 0.12) - np.float32(0.27)
        dent = _edge(np.abs(ring) - 0.015, 0.03) * np.float32(0.25)
        shade = self._shade(tilt_x + rough + dent, tilt_y + rough + dent, shine=9, gloss=0.5)
        colour = look.case_shade * shade[..., None]
        colour += (np.float32(0.05) * np.clip(shade - 1, 0, 1))[..., None]
        printed = np.float32(look.marking_strength) * self._marking(patch)
        _blend(colour, look.grit * shade[..., None], printed)
        if chip is not None:
            self._break_open(patch, colour, chip)
        _blend(self.image[patch.window], colour.astype(np.float32), coverage)

    def _break_open(self, patch: Patch, colour: Array, chip: Chip) -> None:
        """Replace the face inside the chip by broken resin, lit as an uneven hollow."""
        depth = chip.depth(patch.x, patch.y)
        lumps = 0.06 * _clouds(self.rng, 26, depth.shape) + 0.02 * _clouds(self.rng, 60, depth.shape)
        bowl = 1.2 * np.clip(depth, 0, 0.12)
        slope_y, slope_x = (np.asarray(-g, np.float32) for g in np.gradient(lumps - bowl, self.pixel))
        shade = self._shade(slope_x, slope_y, shine=6, gloss=0.15)
        resin = (0.75 * self.look.grit + 0.25 * self.look.case_shade) * shade[..., None]
        _blend(colour, resin.astype(np.float32), _edge(-depth, self.pixel * 1.5))

    def _missing(self, patch: Patch, chip: Chip | None) -> Array:
        """Return where the case is broken right through."""
        if chip is None or not chip.open_edge:
            return np.zeros_like(patch.x)
        return _edge(np.float32(0.16) - chip.depth(patch.x, patch.y), self.pixel * 1.5)

    def _scatter_dust(self, image: Array) -> None:
        """Lay specks and fibres on everything; they are harmless and mean nothing."""
        layer, rng, fixed = np.zeros((SIDE, SIDE), np.uint8), self.rng, 4  # bits after the point
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
        dust = self.look.grit * np.float32(rng.uniform(0.7, 1.4))
        _blend(image, dust, layer.astype(np.float32) / np.float32(255))

    # --- helpers ---

    def _shade(self, tilt_x: Array, tilt_y: Array, shine: float, gloss: float = 0.9) -> Array:
        """Return brightness (about 1 for a level surface) of a surface tilted in the part's axes."""
        turn = self.part[:2, :2] * self.pixel
        slant = [np.float32(turn[axis, 0]) * tilt_x + np.float32(turn[axis, 1]) * tilt_y for axis in (0, 1)]
        length = np.sqrt(slant[0] ** 2 + slant[1] ** 2 + 1)
        lamp, halfway = self.look.light, self.look.halfway
        diffuse = np.clip((slant[0] * lamp[0] + slant[1] * lamp[1] + lamp[2]) / length, 0, None)
        mirror = (slant[0] * halfway[0] + slant[1] * halfway[1] + halfway[2]) / length
        level = self.look.ambient + (1 - self.look.ambient) * diffuse / lamp[2]
        return np.asarray(level + np.float32(gloss) * (np.clip(mirror, 0, 1) ** (shine * 4) - 0.3), np.float32)

    def _marking(self, patch: Patch) -> Array:
        """Return the coverage of the two printed lines on the case."""
        size = 240
        sheet = np.zeros((size, size), np.uint8)
        for text, y in zip(self.look.marking, (110, 170), strict=True):
            (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.35, 3)
            spot = ((size - width) // 2, y)
            cv2.putText(sheet, text, spot, cv2.FONT_HERSHEY_DUPLEX, 1.35, 255, 3, cv2.LINE_AA)
        scale = 2 * CASE_HALF[0] / size
        left, top = CASE_CENTRE[0] - CASE_HALF[0], CASE_CENTRE[1] - CASE_HALF[0]
        u = (patch.x - np.float32(left)) / np.float32(scale)
        v = (patch.y - np.float32(top)) / np.float32(scale)
        printed = cv2.remap(sheet, u, v, cv2.INTER_LINEAR)
        return np.asarray(printed, np.float32) / np.float32(255)

    def _around(self, curve: Array) -> Patch:
        return self._patch(np.array([curve.min(0), curve.max(0)]), margin=REACH)

    def _patch(self, corners: NDArray[np.float64], margin: float) -> Patch:
        """Return the canvas window that holds the box between two corners of the part."""
        (x0, y0), (x1, y1) = corners + np.array([[-margin], [margin]])
        box = self.part @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]])
        left, top = np.clip(np.floor(box[:2].min(1)), 0, CANVAS - 2).astype(int)
        right, low = np.clip(np.ceil(box[:2].max(1)), (left + 2, top + 2), CANVAS).astype(int)
        columns = np.arange(left, right, dtype=np.float32) + np.float32(0.5)
        rows = np.arange(top, low, dtype=np.float32) + np.float32(0.5)
        x, y = _carry_back(self.part, columns, rows)
        return Patch((slice(top, low), slice(left, right)), x, y, self.part)
