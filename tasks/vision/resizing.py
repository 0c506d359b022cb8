"""Images in another size, the same way everywhere."""

import cv2
import numpy as np

from tasks.vision.images import RgbImage


def stretch(image: RgbImage, width: int, height: int) -> RgbImage:
    """Resize to `width` x `height` pixels: areas are averaged when the image shrinks, interpolated when it grows."""
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), dtype=np.uint8)
