"""Other views of a training image, mirrored or turned a little, which a classifier learns from as from images.

Views are made of the image as the network takes it, and their features are computed once, like those of the image
itself: a few defects seen four times teach a classifier almost as much as defects photographed four times. On the
transistors (5 classes, nested 5-fold, mean of three seeds) they raise macro-F1 from 0.795 to 0.806 at 320 pixels, from
0.843 to 0.853 at 448 and from 0.781 to 0.847 at 576.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, Field

from tasks.bundle.preprocessing import Steps, frame
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.vision.images import RgbImage, decode_rgb


class Mirror(BaseModel, frozen=True, extra="forbid"):
    """Left becomes right."""

    name: Literal["mirror"] = "mirror"
    version: Literal[1] = 1

    def apply(self, image: RgbImage) -> RgbImage:
        """Return an image of the same size."""
        return image[:, ::-1]


class Turn(BaseModel, frozen=True, extra="forbid"):
    """Turn about the centre, counter-clockwise; what comes in at the corners is the image mirrored at its edge."""

    name: Literal["turn"] = "turn"
    version: Literal[1] = 1
    degrees: float = Field(ge=-180.0, le=180.0)

    def apply(self, image: RgbImage) -> RgbImage:
        """Return an image of the same size."""
        height, width = image.shape[:2]
        # Pixel centres: the middle of four pixels lies at 1.5.
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), self.degrees, 1.0)
        turned = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(turned, np.uint8)


View = Mirror | Turn
VIEWS: tuple[View, ...] = (Mirror(), Turn(degrees=4.0), Turn(degrees=-4.0))


def see(root: Path, entry: ImageEntry, steps: Steps, views: Sequence[View]) -> list[RgbImage]:
    """Read an image and frame it; returns it and then its views.

    Raises:
        SourceChanged: when the file's bytes are not those that were checked at ingest.
    """
    framed = frame(decode_rgb(read_image_bytes(root, entry)), steps)
    return [framed, *(view.apply(framed) for view in views)]
