"""Random changes of training images that keep their boxes right; one that leaves the picture is dropped."""

import math
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from tasks.train.learning.augmentation import random_changes
from tasks.train.learning.loop import Strength

MIN_SIDE_PIXELS = 2.0
"""Of the network's input: what is left of a box that was moved out of the picture is not worth learning."""


class Augmentation:
    """Changes one image and its boxes at random, from torch's generator."""

    def __init__(self, strength: Strength) -> None:
        self._change = _pipeline(strength)

    def __call__(self, image: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Change an image (3 x S x S, 8 bits) and its boxes (B x 4, left, top, right, bottom); labels follow boxes."""
        size = (image.shape[-2], image.shape[-1])
        # Clamped at the end only: a box that is cut off has its centre elsewhere.
        known_boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size, clamping_mode=None)
        target = {"boxes": known_boxes, "labels": labels}
        changed, known = self._change(tv_tensors.Image(image), target)
        return changed.as_subclass(Tensor), known["boxes"].as_subclass(Tensor), known["labels"]


class _Placement(v2.RandomAffine):  # type: ignore[misc]  # torchvision is not followed
    """Moves, turns and scales; a turned box becomes the upright one around the turned ellipse that it held.

    Around its turned corners a box grows, a narrow one at 4 degrees by a fifth, and the object in it does not: what is
    learned from such boxes is found at the wrong size.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401 - torchvision's own signature
        """Change an image or boxes as `make_params` drew."""
        changed = super().transform(inpt, params)
        if not isinstance(inpt, tv_tensors.BoundingBoxes):
            return changed
        upright = _around_ellipses(inpt.as_subclass(Tensor), changed.as_subclass(Tensor), params)
        return tv_tensors.wrap(upright, like=changed)


def _around_ellipses(before: Tensor, around_corners: Tensor, params: dict[str, Any]) -> Tensor:
    """Return boxes (B x 4, left, top, right, bottom) around the turned ellipses of `before`."""
    turn = math.radians(params["angle"])
    width, height = (before[:, 2:] - before[:, :2]).unbind(1)
    sizes = torch.stack(
        [
            torch.hypot(width * math.cos(turn), height * math.sin(turn)),
            torch.hypot(width * math.sin(turn), height * math.cos(turn)),
        ],
        dim=1,
    )
    centres = (around_corners[:, :2] + around_corners[:, 2:]) / 2
    half = sizes * params["scale"] / 2
    return torch.cat([centres - half, centres + half], dim=1)


def _pipeline(strength: Strength) -> v2.Compose:
    tidy = [v2.ClampBoundingBoxes(clamping_mode="hard"), v2.SanitizeBoundingBoxes(min_size=MIN_SIDE_PIXELS)]
    return v2.Compose([*random_changes(strength, _Placement), *tidy])
