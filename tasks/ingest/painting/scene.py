"""One picture while it is painted: board, shadows, leads and case, light and noise of the camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.ingest.painting.board import bare_board, scatter_dust
from tasks.ingest.painting.canvas import (
    CANVAS,
    OVERSAMPLING,
    REACH,
    SIDE,
    Array,
    Patch,
    Pixels,
    blank,
    blend,
    carry_back,
    clouds,
    edge,
    resize,
)
from tasks.ingest.painting.case import CASE_CENTRE, CASE_HALF, Chip, box_distance, marking
from tasks.ingest.painting.leads import curve_distance
from tasks.ingest.painting.look import Look


class Scene:
    """The canvas while one picture is painted, from the board up to the dust."""

    def __init__(self, rng: np.random.Generator, look: Look, seated: bool) -> None:
        """Choose camera and materials; ``seated`` leads go down into their holes."""
        self.rng, self.look, self.seated = rng, look, seated
        self.part = look.camera @ look.pose
        self.pixel = 1 / float(np.hypot(*look.camera[:2, 0]))  # in hole pitches
        self.image = np.zeros((CANVAS, CANVAS, 3), np.float32)

    def paint_part(self, curves: list[Array], chip: Chip | None) -> Array:
        """Paint board, shadows, leads and case; return what the chip covers, or else the part."""
        leads = [(patch, *curve_distance(patch, c)) for c in curves for patch in [self._around(c)]]
        case = self._patch(np.array(CASE_CENTRE) + np.outer([-1, 1], CASE_HALF), margin=0.1)
        outline = edge(box_distance(case.x, case.y), self.pixel * 1.5)
        covered = outline * (1 - self._missing(case, chip))
        high, low = blank(), blank()
        high[case.window] = covered
        for patch, signed, _ in leads:
            np.maximum(low[patch.window], self._lead_cover(signed), out=low[patch.window])
        ground = bare_board(self.rng, self.look)
        ground *= (self._shadow(high, reach=0.16) * self._shadow(low, reach=0.07))[..., None]
        self.image = resize(ground, CANVAS, cv2.INTER_LINEAR)
        for patch, signed, place in leads:
            self._paint_lead(patch, signed, place)
        self._paint_case(case, covered, chip)
        if chip is None:
            return np.maximum(high, low)
        broken = blank()
        broken[case.window] = outline * edge(-chip.depth(case.x, case.y), self.pixel)
        return broken

    def trace(self, curve: Array) -> Array:
        """Return the coverage of one lead outside the case."""
        patch = self._around(curve)
        traced = blank()
        signed, _ = curve_distance(patch, curve)
        below = edge(-box_distance(patch.x, patch.y), self.pixel)
        traced[patch.window] = self._lead_cover(signed) * below
        return traced

    def photograph(self) -> Pixels:
        """Reduce the canvas to a picture: light falloff, exposure, blur, sensor noise; BGR."""
        look = self.look
        small = resize(self.image, SIDE, cv2.INTER_AREA)
        scatter_dust(self.rng, look, small)
        line = np.linspace(-1, 1, SIDE, dtype=np.float32)
        falloff = 1 + look.slope[0] * line[None, :] + look.slope[1] * line[:, None]
        falloff = falloff - np.float32(0.07) * (line[None, :] ** 2 + line[:, None] ** 2)
        lit = cv2.GaussianBlur(small * falloff[..., None] * look.gain, (0, 0), look.blur)
        grain = self.rng.standard_normal(small.shape, dtype=np.float32)
        levels = (lit + grain * np.float32(look.noise)) * 255 + 0.5
        return np.asarray(np.clip(levels[..., ::-1], 0, 255), np.uint8)

    # --- layers ---

    def _shadow(self, shape: Array, reach: float) -> Array:
        """Return the light that ``shape`` leaves on the board, ``reach`` pitches below it."""
        small = resize(shape, SIDE, cv2.INTER_AREA)
        unit = reach / self.pixel / OVERSAMPLING  # finished px
        shift = -self.look.light[:2].astype(np.float64) * unit / float(self.look.light[2])
        move = np.hstack([np.eye(2), shift[:, None]])
        moved = cv2.warpAffine(small, move, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        soft = cv2.GaussianBlur(moved, (0, 0), 0.35 * unit)
        return 1 - np.float32(0.55) * np.asarray(soft, np.float32)

    def _lead_cover(self, signed: Array) -> Array:
        return edge(np.abs(signed) - np.float32(self.look.lead_width / 2), self.pixel * 1.2)

    def _paint_lead(self, patch: Patch, signed: Array, place: Array) -> None:
        look = self.look
        across = np.clip(signed / np.float32(look.lead_width / 2), -1, 1)
        tilt = np.sign(across) * np.abs(across) ** 3  # rolled flat, round only at the edges
        wear = clouds(self.rng, 9, tilt.shape) * np.float32(0.16)
        shade = self._shade(0.8 * tilt * look.light[0] + wear, wear - 0.3 * tilt, shine=14)
        colour = look.lead_tone * shade[..., None]
        if self.seated:  # the end goes down into the hole, out of the light
            sunk = (np.hypot(patch.x - np.round(patch.x), patch.y) < look.hole_radius) & (place > 0.8)
            colour *= np.where(sunk, 1 - 0.62 * np.clip((place - 0.86) / 0.14, 0, 1), 1)[..., None]
        blend(self.image[patch.window], colour.astype(np.float32), self._lead_cover(signed))

    def _paint_case(self, patch: Patch, coverage: Array, chip: Chip | None) -> None:
        look = self.look
        x = (patch.x - np.float32(CASE_CENTRE[0])) / np.float32(CASE_HALF[0])
        y = (patch.y - np.float32(CASE_CENTRE[1])) / np.float32(CASE_HALF[1])
        # A flat face between two rounded flanks, and a narrow bevel all around.
        tilt_x = 0.75 * np.sign(x) * np.clip((np.abs(x) - 0.55) / 0.45, 0, 1)
        tilt_y = 0.6 * np.sign(y) * np.clip((np.abs(y) - 0.93) / 0.07, 0, 1)
        rough = clouds(self.rng, 110, x.shape) * np.float32(0.05)
        ring = np.hypot(x, y + 0.12) - np.float32(0.27)
        dent = edge(np.abs(ring) - 0.015, 0.03) * np.float32(0.25)
        shade = self._shade(tilt_x + rough + dent, tilt_y + rough + dent, shine=9, gloss=0.5)
        colour = look.case_shade * shade[..., None]
        colour += (np.float32(0.05) * np.clip(shade - 1, 0, 1))[..., None]
        printed = np.float32(look.marking_strength) * marking(patch, look.marking)
        blend(colour, look.grit * shade[..., None], printed)
        if chip is not None:
            self._break_open(patch, colour, chip)
        blend(self.image[patch.window], colour.astype(np.float32), coverage)

    def _break_open(self, patch: Patch, colour: Array, chip: Chip) -> None:
        """Replace the face inside the chip by broken resin, lit as an uneven hollow."""
        depth = chip.depth(patch.x, patch.y)
        lumps = 0.06 * clouds(self.rng, 26, depth.shape) + 0.02 * clouds(self.rng, 60, depth.shape)
        bowl = 1.2 * np.clip(depth, 0, 0.12)
        slope_y, slope_x = (np.asarray(-g, np.float32) for g in np.gradient(lumps - bowl, self.pixel))
        shade = self._shade(slope_x, slope_y, shine=6, gloss=0.15)
        resin = (0.75 * self.look.grit + 0.25 * self.look.case_shade) * shade[..., None]
        blend(colour, resin.astype(np.float32), edge(-depth, self.pixel * 1.5))

    def _missing(self, patch: Patch, chip: Chip | None) -> Array:
        """Return where the case is broken right through."""
        if chip is None or not chip.open_edge:
            return np.zeros_like(patch.x)
        return edge(np.float32(0.16) - chip.depth(patch.x, patch.y), self.pixel * 1.5)

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
        x, y = carry_back(self.part, columns, rows)
        return Patch((slice(top, low), slice(left, right)), x, y, self.part)
