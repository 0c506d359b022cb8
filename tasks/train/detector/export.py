"""From a trained network to a bundle, and the proof that both find the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torchvision.models.detection import FCOS
from torchvision.models.detection.image_list import ImageList

from tasks.bundle.detection import MIN_SIDE_PIXELS
from tasks.bundle.format import BoxDecoding
from tasks.bundle.predictor import Predictor
from tasks.bundle.preprocessing import DetectorSteps, Placement, prepare_batch
from tasks.errors import TrainingError
from tasks.metrics.matching import edge_difference, pair_same_boxes
from tasks.train.detector.network import OUTPUT_NAMES, Graph
from tasks.train.learning.bundle import write_network_bundle
from tasks.vision.boxes import DetectedBox
from tasks.vision.images import RgbImage

MAX_BOX_DIFFERENCE = 0.5
"""Pixels of the network's input, of any edge; measured 8e-5."""
MAX_SCORE_DIFFERENCE = 1e-3
"""Boxes whose scores lie closer than this may change places."""


def write_bundle(
    folder: Path,
    network: FCOS,
    *,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    steps: DetectorSteps,
    decoding: BoxDecoding,
    dataset_digest: str,
    provenance: Mapping[str, str | int | float | bool],
) -> str:
    """Write a detector's bundle into an empty folder; returns its digest."""
    return write_network_bundle(
        folder,
        network,
        Graph(network),
        role="detector",
        input_size=steps[-2].size,
        output_names=OUTPUT_NAMES,
        task="detection",
        labels=tuple(labels),
        thresholds=dict(thresholds),
        steps=steps,
        dataset_digest=dataset_digest,
        provenance=dict(provenance),
        decoding=decoding,
    )


def require_parity(
    bundle: Path,
    network: FCOS,
    images: Sequence[RgbImage],
    labels: Sequence[str],
    steps: DetectorSteps,
    decoding: BoxDecoding,
) -> tuple[float, float]:
    """Compare the bundle's boxes with those of the network and torchvision's own decoding.

    Args:
        bundle: the bundle's folder.
        network: the network it was made of.
        images: decoded images.
        labels: label names by column.
        steps: preprocessing.
        decoding: settings.

    Returns:
        The largest difference of a confidence, and of an edge (pixels of the network's input).

    Raises:
        TrainingError: when a box is missing, is another label's, comes in another order, or lies elsewhere.
    """
    # torchvision merges no boxes, and weighs the centreness by one half.
    plain = decoding.model_copy(update={"merge_power": None, "centreness_weight": 0.5})
    predictor = Predictor.open(bundle).with_decoding(plain)
    scores = pixels = 0.0
    for image, answer in zip(images, predictor.predict(images), strict=True):
        expected = _torchvision_boxes(network, image, labels, steps, plain)
        pairs, unpaired = pair_same_boxes(answer.boxes, expected, MAX_SCORE_DIFFERENCE)
        _require_all(unpaired, decoding.score_floor)
        region = Placement.of(steps, image.shape[1], image.shape[0]).region
        scale = steps[-2].size / max(region.width, region.height)
        for box, other in pairs:
            scores = max(scores, abs(box.confidence - other.confidence))
            pixels = max(pixels, scale * edge_difference(box, other))
    if not (scores <= MAX_SCORE_DIFFERENCE and pixels <= MAX_BOX_DIFFERENCE):
        raise TrainingError(
            f"the bundle's boxes differ from the trained network's by {pixels:.2g} pixels and {scores:.2g} of "
            "confidence; report this with the versions of torch and onnxruntime"
        )
    return scores, pixels


def _require_all(unpaired: Sequence[DetectedBox], floor: float) -> None:
    missing = [box for box in unpaired if box.confidence > floor + MAX_SCORE_DIFFERENCE]
    if missing:
        raise TrainingError(
            f"the bundle and the trained network disagree on {len(missing)} boxes of an image, the surest "
            f"{missing[0].label!r} with confidence {missing[0].confidence:.3f}; report this with the versions of torch "
            "and onnxruntime"
        )


def _torchvision_boxes(
    network: FCOS,
    image: RgbImage,
    labels: Sequence[str],
    steps: DetectorSteps,
    decoding: BoxDecoding,
) -> list[DetectedBox]:
    placement = Placement.of(steps, image.shape[1], image.shape[0])
    input_size = placement.letterbox.size
    content_width, content_height = placement.content_size
    batch = torch.from_numpy(prepare_batch([image], steps))
    network.score_thresh, network.nms_thresh = decoding.score_floor, decoding.nms_iou
    network.topk_candidates = decoding.candidates_per_level
    # torchvision counts boxes without width or height, which a bundle never tells.
    network.detections_per_img = decoding.candidates_per_level * len(decoding.strides)
    with torch.inference_mode():
        maps = list(network.backbone(batch).values())
        anchors = network.anchor_generator(ImageList(batch, [(input_size, input_size)]), maps)[0]
        places = [one.shape[-2] * one.shape[-1] for one in maps]
        outputs = {name: list(value.split(places, dim=1)) for name, value in network.head(maps).items()}
        found = network.postprocess_detections(
            outputs, [list(anchors.split(places))], [(content_height, content_width)]
        )[0]
    sides = found["boxes"][:, 2:] - found["boxes"][:, :2]
    told = torch.nonzero((sides >= MIN_SIDE_PIXELS).all(dim=1))[: decoding.max_boxes, 0]
    edges = placement.to_image(found["boxes"][told].numpy()).tolist()
    return [
        DetectedBox(labels[label], left, top, right - left, bottom - top, score, is_given=False)
        for (left, top, right, bottom), label, score in zip(
            edges, found["labels"][told].tolist(), found["scores"][told].tolist(), strict=True
        )
    ]
