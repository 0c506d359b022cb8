"""Images in another size, the same way everywhere."""

import cv2
import numpy as np

from tasks.vision.images import RgbImage


def stretch(image: RgbImage, width: int, height: int) -> RgbImage:
    """Resize to `width` x `height` pixels: areas are averaged when the image shrinks, interpolated when it grows."""
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), dtype=np.uint8)


def shrink(image: RgbImage, side: int) -> tuple[RgbImage, float]:
    """Return an image whose longer side is at most `side` pixels, and its scale (1 at most)."""
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), scale
