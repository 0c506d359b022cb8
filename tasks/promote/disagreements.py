"""Images that champion and challenger answer differently, and a sheet of them for people to judge by.

An image that can no longer be read leaves a gap on the sheet.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tasks.bundle.predictor import Prediction
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.metrics.matching import match_boxes
from tasks.promote.records import counted
from tasks.vision.boxes import BoundingBox, DetectedBox
from tasks.vision.images import ImageError, RgbImage, decode_rgb
from tasks.vision.lettering import legible, load_font, shortened
from tasks.vision.overlays import Box, Line, Rgb, draw_boxes, draw_labels, label_colours

MAX_SHOWN = 12
PICTURES_PER_ROW = 4
SIDE = 260
"""Longer side of a picture (pixels)."""
MARGIN, LINE_HEIGHT, TITLE_HEIGHT = 14, 18, 66
TITLE_LETTERS, LETTERS, BOX_LETTERS = 17, 12, 11
BOX_THICKNESS = 2
PAPER: Rgb = (255, 255, 255)
GAP_GROUND: Rgb = (233, 237, 240)
INK: Rgb = (34, 48, 60)
RIGHT_INK: Rgb = (17, 110, 54)
WRONG_INK: Rgb = (176, 32, 48)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An image and the two answers to it; a detector's have boxes."""

    entry: ImageEntry
    champion: Prediction
    challenger: Prediction


@dataclass(frozen=True, slots=True)
class Disagreements:
    """All images that two versions answer differently, in the order of the manifest.

    Attributes:
        champion: the champion's address.
        challenger: the challenger's address.
        root: folder to which the images' references are relative.
        cases: the images.
        is_detection: whether the answers are boxes.
    """

    champion: str
    challenger: str
    root: Path
    cases: tuple[Disagreement, ...]
    is_detection: bool


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    ink: Rgb


def agree(champion: Prediction, challenger: Prediction, *, is_detection: bool) -> bool:
    """Return whether two answers give the same labels, or the same boxes: equal labels in the same places."""
    if is_detection:
        return _are_paired(_given(champion), _given(challenger))
    return set(champion.labels) == set(challenger.labels)


def draw_disagreements(found: Disagreements) -> RgbImage:
    """Return a sheet, height x width x 3, of the first `MAX_SHOWN` images.

    A classifier's image stands above both answers. A detector's image stands twice, the champion's boxes left and the
    challenger's right: right ones solid, false ones dashed, and dotted where a true box was missed. An answer is
    written in green when it is right; where a classifier gives no label, its surest stands in parentheses.
    """
    per_case = 2 if found.is_detection else 1
    per_row = PICTURES_PER_ROW // per_case
    cases = found.cases[:MAX_SHOWN]
    case_size = (per_case * (SIDE + MARGIN), SIDE + 4 * LINE_HEIGHT + MARGIN)
    rows = max(1, -(-len(cases) // per_row))
    canvas = Image.new("RGB", (per_row * case_size[0] + MARGIN, TITLE_HEIGHT + rows * case_size[1]), PAPER)
    width = canvas.width - 2 * MARGIN
    told = f"{counted(len(found.cases), 'test image')} answered differently, {len(cases)} shown"
    _write(canvas, (MARGIN, 12), _Line(told, INK), width, TITLE_LETTERS)
    _write(canvas, (MARGIN, 38), _Line(_legend(found), INK), width, LETTERS)
    colours = label_colours(label for case in found.cases for label in (*case.entry.truth.labels, *_labels(case)))
    for place, case in enumerate(cases):
        row, column = divmod(place, per_row)
        corner = (MARGIN + column * case_size[0], TITLE_HEIGHT + row * case_size[1])
        _draw_case(canvas, corner, case, found, colours)
    return np.array(canvas)


def png_bytes(sheet: RgbImage) -> bytes:
    """Return a sheet as a PNG file; JPEG would blur letters and thin lines."""
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _legend(found: Disagreements) -> str:
    if not found.is_detection:
        return f"champion {found.champion}, challenger {found.challenger}"
    return (
        f"left the champion {found.champion}, right the challenger {found.challenger}; solid: right, dashed: false, "
        "dotted: a true box that was missed"
    )


def _labels(case: Disagreement) -> tuple[str, ...]:
    return (*case.champion.confidences, *case.challenger.confidences)


def _given(answer: Prediction) -> list[DetectedBox]:
    return [box for box in answer.boxes if box.is_given]


def _are_paired(one: Sequence[Box], other: Sequence[DetectedBox]) -> bool:
    # Matching looks at labels and edges only, and both kinds of boxes have them.
    matches = match_boxes(cast(Sequence[BoundingBox], one), other)
    return None not in matches.truth_of and None not in matches.found_of


def _draw_case(
    canvas: Image.Image,
    corner: tuple[int, int],
    case: Disagreement,
    found: Disagreements,
    colours: Mapping[str, Rgb],
) -> None:
    small, scale = _read_small(found.root, case.entry)
    answers = (case.champion, case.challenger)
    left, top = corner
    below = top + SIDE + 3
    for place, answer in enumerate(answers if found.is_detection else answers[:1]):
        picture = small
        if found.is_detection and small is not None:
            picture = _with_boxes(small, scale, case.entry.truth.boxes or (), _given(answer), colours)
        _paste(canvas, (left + place * (SIDE + MARGIN), top), picture)
    width = (SIDE + MARGIN) * (2 if found.is_detection else 1) - MARGIN
    for number, line in enumerate(_lines(case, found)):
        _write(canvas, (left, below + number * LINE_HEIGHT), line, width, LETTERS)


def _lines(case: Disagreement, found: Disagreements) -> list[_Line]:
    """Return what is written below an image: its name, the truth, and both answers."""
    truth = case.entry.truth
    boxes = [box.label for box in truth.boxes or ()]
    told = _counted(boxes) if found.is_detection else ", ".join(truth.labels)
    return [
        # Files of one name in several folders are common.
        _Line("/".join(PurePosixPath(case.entry.source_ref).parts[-2:]), INK),
        _Line(f"truth: {told or 'nothing'}", INK),
        _answer_line("champion", case.champion, case.entry, is_detection=found.is_detection),
        _answer_line("challenger", case.challenger, case.entry, is_detection=found.is_detection),
    ]


def _answer_line(name: str, answer: Prediction, entry: ImageEntry, *, is_detection: bool) -> _Line:
    if is_detection:
        told = _counted([box.label for box in _given(answer)]) or "nothing"
        is_right = _are_paired(entry.truth.boxes or (), _given(answer))
    else:
        told = _with_confidences(answer, answer.labels)
        told = told or f"nothing ({_with_confidences(answer, [answer.top_label])})"
        is_right = set(answer.labels) == set(entry.truth.labels)
    return _Line(f"{name}: {told}", RIGHT_INK if is_right else WRONG_INK)


def _with_confidences(answer: Prediction, labels: Sequence[str]) -> str:
    return ", ".join(f"{label} {100 * answer.confidences[label]:.0f} %" for label in labels)


def _counted(labels: Sequence[str]) -> str:
    return ", ".join(f"{labels.count(label)} {label}" for label in sorted(set(labels)))


def _read_small(root: Path, entry: ImageEntry) -> tuple[RgbImage | None, float]:
    """Return an image at most `SIDE` pixels wide and high, and its scale (1 at most)."""
    try:
        image = decode_rgb(read_image_bytes(root, entry))
    except (SourceChanged, ImageError):
        return None, 1.0
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), scale


def _with_boxes(
    image: RgbImage,
    scale: float,
    truths: Sequence[BoundingBox],
    given: Sequence[DetectedBox],
    colours: Mapping[str, Rgb],
) -> RgbImage:
    matches = match_boxes(truths, given)
    missed = [box for box, taken_by in zip(truths, matches.found_of, strict=True) if taken_by is None]
    false = [box for box, truth in zip(given, matches.truth_of, strict=True) if truth is None]
    right = [box for box, truth in zip(given, matches.truth_of, strict=True) if truth is not None]
    kinds: tuple[tuple[Sequence[Box], Line], ...] = ((missed, "dotted"), (false, "dashed"), (right, "solid"))
    for boxes, line in kinds:
        image = draw_boxes(image, boxes, colours, scale, thickness=BOX_THICKNESS, line=line)
    drawn: list[Box] = [*right, *false, *missed]
    return draw_labels(image, drawn, colours, scale, letter_pixels=BOX_LETTERS, caption=_caption)


def _caption(box: Box) -> str:
    if isinstance(box, BoundingBox):
        return f"missed {box.label}"
    return f"{box.label} {box.confidence:.2f}"


def _paste(canvas: Image.Image, corner: tuple[int, int], picture: RgbImage | None) -> None:
    x, y = corner
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), fill=GAP_GROUND)
    if picture is None:
        middle = (x + SIDE // 2, y + SIDE // 2)
        pen.text(middle, "cannot be read", fill=INK, font=load_font(LETTERS), anchor="mm")
        return
    height, width = picture.shape[:2]
    canvas.paste(Image.fromarray(picture), (x + (SIDE - width) // 2, y + (SIDE - height) // 2))


def _write(canvas: Image.Image, corner: tuple[int, int], line: _Line, width: int, letters: int) -> None:
    font = load_font(letters)
    text = shortened(legible(line.text, font), font, width)
    ImageDraw.Draw(canvas).text(corner, text, fill=line.ink, font=font)
