"""What a network finds in prepared images, decoded as the bundle decodes."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import FCOS

from tasks.bundle.detection import find_boxes
from tasks.bundle.format import BoxDecoding
from tasks.bundle.preprocessing import DetectorSteps, Normalise, Placement
from tasks.train.detector.network import OUTPUT_NAMES, Graph
from tasks.train.detector.samples import Samples
from tasks.train.learning.frozen import Frozen
from tasks.train.learning.pixels import to_batch
from tasks.vision.boxes import DetectedBox

BATCH_IMAGES = 8

Detections = list[list[DetectedBox]]


def detect(
    network: FCOS,
    samples: Samples,
    labels: Sequence[str],
    steps: DetectorSteps,
    decoding: BoxDecoding,
    frozen: Frozen | None = None,
) -> Detections:
    """Return what a network finds in each sample, the surest first, in pixels of the image; no box is given yet.

    `frozen` runs the stages that keep their weights; None runs them as the rest.
    """
    detections = []
    for outputs, (width, height) in zip(
        _outputs(network, samples, steps[-1], frozen), samples.image_sizes, strict=True
    ):
        placement = Placement.of(steps, width, height)
        found = find_boxes(outputs, decoding, placement.letterbox.size, placement.content_size)
        edges = placement.to_image(found.edges).tolist()
        detections.append(
            [
                DetectedBox(labels[label], left, top, right - left, bottom - top, score, is_given=False)
                for (left, top, right, bottom), label, score in zip(
                    edges, found.labels.tolist(), found.scores.tolist(), strict=True
                )
            ]
        )
    return detections


def _outputs(
    network: FCOS, samples: Samples, normalise: Normalise, frozen: Frozen | None
) -> Iterator[dict[str, NDArray[np.float32]]]:
    device = next(network.parameters()).device
    graph = Graph(network).eval()
    for start in range(0, len(samples), BATCH_IMAGES):
        batch = to_batch(samples.pixels(start, start + BATCH_IMAGES), normalise, device)
        with torch.inference_mode():
            answers = graph.learning((frozen or network.backbone.frozen)(batch))
        for rows in zip(*(answer.float().cpu().numpy() for answer in answers), strict=True):
            yield dict(zip(OUTPUT_NAMES, rows, strict=True))
