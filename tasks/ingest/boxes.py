"""From boxes as a source states them to boxes of an image, in whole pixels. Decides what is a finding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.annotations.annotated import AnnotatedImage, StatedBox
from tasks.dataset.findings import Finding
from tasks.vision.boxes import BoundingBox

OVERSHOOT_PIXELS = 1.0
"""Coordinates that were rounded elsewhere may lie this far outside; they are brought back to the edge."""
FRACTION_PIXELS = 0.05
"""Differences to whole pixels beyond this are told; below, they come from the digits a format writes."""


@dataclass(frozen=True, slots=True)
class PlacedBoxes:
    """An image's boxes in whole pixels; `boxes` is None when the source says nothing of boxes."""

    boxes: tuple[BoundingBox, ...] | None
    findings: tuple[Finding, ...]

    @property
    def are_all_lost(self) -> bool:
        """Whether the source states boxes, and none of them can be used: no true negative."""
        return self.boxes == () and bool(self.findings)


def place_boxes(image: AnnotatedImage, width: int, height: int) -> PlacedBoxes:
    """Bring an image's stated boxes to whole pixels of the image, `width` x `height` pixels in size.

    A box that lies off the image or is empty is left out as a finding; the others stay.
    """
    if image.boxes is None:
        return PlacedBoxes(None, ())
    placed: list[BoundingBox] = []
    findings: list[Finding] = []
    fractions = 0
    for number, stated in enumerate(image.boxes, start=1):
        edges = _edges(stated, width, height)
        problem = _problem(edges, width, height)
        if problem:
            code, why = problem
            message = f"box {number} ({stated.label}) {why}; the box is left out, draw it anew"
            findings.append(Finding(code=code, source_ref=image.source_ref, message=message))
            continue
        left, top, right, bottom = _whole(edges, width, height)
        fractions += not stated.is_relative and _has_fraction(edges)
        placed.append(BoundingBox(stated.label, left, top, right - left, bottom - top, stated.confidence))
    if fractions:
        message = f"{_boxes(fractions)} lay between pixels and went to the nearest ones, which is all manifests hold"
        findings.append(Finding(code="WARNING_ROUNDED_BOX", source_ref=image.source_ref, message=message))
    ordered = sorted(placed, key=lambda box: (box.label, box.top, box.left, box.height, box.width, box.confidence))
    return PlacedBoxes(tuple(ordered), tuple(findings))


def _edges(box: StatedBox, width: int, height: int) -> tuple[float, float, float, float]:
    across, down = (width, height) if box.is_relative else (1, 1)
    return box.left * across, box.top * down, (box.left + box.width) * across, (box.top + box.height) * down


def _problem(edges: Sequence[float], width: int, height: int) -> tuple[str, str] | None:
    left, top, right, bottom = edges
    if not all(map(math.isfinite, edges)):
        return "ERROR_INVALID_BOUNDING_BOX", "has coordinates that are no numbers"
    if min(left, top) < -OVERSHOOT_PIXELS or right > width + OVERSHOOT_PIXELS or bottom > height + OVERSHOOT_PIXELS:
        stated = f"{left:g}, {top:g} to {right:g}, {bottom:g}"
        return "ERROR_INVALID_BOUNDING_BOX", f"lies off the image of {width} x {height} pixels ({stated})"
    if right - left <= 0 or bottom - top <= 0:
        return "ERROR_BOUNDING_BOX_TOO_SMALL", "has no area"
    return None


def _whole(edges: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    left, right = _span(edges[0], edges[2], width)
    top, bottom = _span(edges[1], edges[3], height)
    return left, top, right, bottom


def _span(start: float, stop: float, size: int) -> tuple[int, int]:
    first = min(max(math.floor(start + 0.5), 0), size - 1)
    # A box thinner than a pixel still covers one.
    return first, min(max(math.floor(stop + 0.5), first + 1), size)


def _has_fraction(edges: Sequence[float]) -> bool:
    return any(abs(edge - round(edge)) > FRACTION_PIXELS for edge in edges)


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count} boxes"
