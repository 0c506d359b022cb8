"""Random changes of training images, and mixtures of them (torchvision transforms v2)."""

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from tasks.bundle.preprocessing import PADDING_COLOUR
from tasks.train.learning.augmentation import random_changes
from tasks.train.learning.loop import Strength

_CUTOUT = {"none": 0.0, "light": 0.0, "standard": 0.2, "strong": 0.4}
"""Share of images that lose a rectangle. Rarely: what makes a label may be small, and then be gone."""
CUTOUT_AREA = (0.01, 0.08)


class Augmentation:
    """Changes one image at random, from torch's generator."""

    def __init__(self, strength: Strength) -> None:
        cutout = v2.RandomErasing(_CUTOUT[strength], scale=CUTOUT_AREA, value=list(PADDING_COLOUR))
        self._change = v2.Compose([*random_changes(strength), cutout])

    def __call__(self, image: Tensor) -> Tensor:
        """Change an image, 3 x S x S, 8 bits."""
        changed: Tensor = self._change(tv_tensors.Image(image)).as_subclass(Tensor)
        return changed


def mixed_up(images: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Blend each image and its target with another of the batch; `alpha` 0 leaves them.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018: the share comes from Beta(alpha, alpha).

    Args:
        images: N x 3 x S x S.
        targets: N x L, each 0 to 1; blended, a row says how much of the image carries each label.
        alpha: the larger, the more even the blend.
    """
    if not alpha:
        return images, targets
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(images), device=images.device)
    return images.lerp(images[other], 1.0 - share), targets.lerp(targets[other], 1.0 - share)
