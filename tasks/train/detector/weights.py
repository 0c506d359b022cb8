"""A detector's first weights: a backbone's, or those of a detector that was trained before."""

from collections.abc import Sequence

from torchvision.models.detection import FCOS

from tasks.train.earlier import Earlier
from tasks.train.learning.weights import continue_from, load_first
from tasks.train.weights import FirstWeights

CLASS_LAYER = "head.classification_head.cls_logits."
BACKBONE_FIELD = "training.detector.backbone"


def give_first_weights(
    network: FCOS, backbone: str, weights: FirstWeights | Earlier, labels: Sequence[str]
) -> dict[str, str]:
    """Give a network what it starts from; returns what is to be recorded of it.

    Raises:
        RequestError: when the weights belong to another network.
    """
    if isinstance(weights, Earlier):
        reused = continue_from(network, weights, labels, CLASS_LAYER, BACKBONE_FIELD)
        return {"continues": weights.model_uri, **reused}
    load_first(network.backbone.body, backbone, weights)
    return {}
