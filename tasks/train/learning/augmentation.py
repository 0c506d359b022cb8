"""Random changes of training images that leave what they show (torchvision transforms v2).

Fixed cameras and hand-held ones, parts that lie a little differently each time, lamps that age: a picture is mirrored,
moved, turned by a few degrees, scaled, and lit differently.
"""

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from tasks.bundle.preprocessing import PADDING_COLOUR
from tasks.train.learning.loop import Strength

_DEGREES = {"light": 2.0, "standard": 4.0, "strong": 10.0}
"""Without any turning the demo's parts, which lie askew, are found far more rarely (mAP50 of a short training 0.02
instead of 0.39)."""
_SHIFT = {"light": 0.04, "standard": 0.08, "strong": 0.15}
_SCALE = {"light": 0.08, "standard": 0.15, "strong": 0.35}
_LIGHT = {"light": 0.15, "standard": 0.25, "strong": 0.4}


def random_changes(strength: Strength, placement: type[v2.RandomAffine] = v2.RandomAffine) -> list[Any]:
    """Return the transforms, in order; none at all for the strength `none`.

    Args:
        strength: how much is changed.
        placement: what moves, turns and scales.
    """
    if strength == "none":
        return []
    shift, scale, light = _SHIFT[strength], _SCALE[strength], _LIGHT[strength]
    return [
        v2.RandomHorizontalFlip(0.5),
        placement(
            degrees=_DEGREES[strength],
            translate=(shift, shift),
            scale=(1.0 - scale, 1.0 + scale),
            interpolation=v2.InterpolationMode.BILINEAR,
            fill=dict.fromkeys((tv_tensors.Image, torch.Tensor), PADDING_COLOUR),
        ),
        # A change of hue would cost as much as all the rest (measured: 6 ms an image).
        v2.ColorJitter(brightness=light, contrast=light, saturation=light),
    ]
