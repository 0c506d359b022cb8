"""Where a classifier looks: parts of an image are hidden in turn; its confidence falls where the answer rests on them.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2. It asks nothing but
answers of the model, so that it tells of every classifier alike, whatever it sees of an image.
"""

from collections.abc import Sequence

import numpy as np

from tasks.bundle.predictor import BATCH_SIZE, Prediction, Predictor, PreparedImage
from tasks.bundle.preprocessing import Letterbox, Steps, frame, seen_region
from tasks.vision.heat_maps import HeatMap
from tasks.vision.images import RgbImage

CELLS = 8
"""Rows and columns of the map."""
WINDOW = 2
"""Rows and columns of cells that are hidden at a time: a window of one cell leaves most defects in sight."""
_CORNERS = [
    (row, column) for first in (0, 1) for row in range(first, CELLS - 1, 2) for column in range(first, CELLS - 1, 2)
]
"""Upper left cells of the windows: side by side, and once more half a window further."""
HIDDEN_IMAGES = len(_CORNERS)
"""Answers that a map costs, besides that to the whole image."""


def occlusion_map(predictor: Predictor, image: RgbImage, label: str) -> HeatMap:
    """Return by how much a label's confidence falls, 0 to 1, when a part of an image is hidden; 0 where it rises.

    A part is hidden by the mean colour of what the model sees of the image. Each cell gets the mean over the windows
    that hide it.

    Args:
        predictor: of a classifier.
        image: height x width x 3, RGB, 8 bits.
        label: one of the model's.
    """
    height, width = image.shape[:2]
    steps = predictor.card.steps
    framed, seen = frame(image, steps), seen_region(steps, width, height)
    right, bottom = _content_size(steps, seen.width, seen.height)
    across, down = _edges(right), _edges(bottom)
    colour = framed[:bottom, :right].mean(axis=(0, 1)).round().astype(np.uint8)
    hidden = []
    for row, column in _CORNERS:
        copy = framed.copy()
        copy[down[row] : down[row + WINDOW], across[column] : across[column + WINDOW]] = colour
        hidden.append(copy)
    whole, *others = (one.confidences[label] for one in _answers(predictor, [framed, *hidden], width, height))
    total, windows = np.zeros((CELLS, CELLS), np.float32), np.zeros((CELLS, CELLS), np.float32)
    for (row, column), confidence in zip(_CORNERS, others, strict=True):
        total[row : row + WINDOW, column : column + WINDOW] += whole - confidence
        windows[row : row + WINDOW, column : column + WINDOW] += 1.0
    return HeatMap.of(total / windows, seen.ratios(width, height))


def _answers(predictor: Predictor, framed: Sequence[RgbImage], width: int, height: int) -> list[Prediction]:
    answers: list[Prediction] = []
    for start in range(0, len(framed), BATCH_SIZE):
        batch: list[PreparedImage] = [
            predictor.prepare_framed(one, width, height) for one in framed[start : start + BATCH_SIZE]
        ]
        answers += predictor.predict_prepared(batch)
    return answers


def _content_size(steps: Steps, width: int, height: int) -> tuple[int, int]:
    """Return the width and height, in pixels of the input, that hold an image of a size; the rest is padding."""
    framing = steps[-2]
    return framing.content_size(width, height) if isinstance(framing, Letterbox) else (framing.width, framing.height)


def _edges(length: int) -> list[int]:
    return [round(length * place / CELLS) for place in range(CELLS + 1)]
