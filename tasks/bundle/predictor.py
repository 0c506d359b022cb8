"""The one predictor: evaluation, the inference test, batch prediction and serving all use it.

Runs on numpy, OpenCV, Pillow and ONNX Runtime; imports no torch, no scikit-learn, and loads no pickle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.bundle.anomaly import confidence_of, find_regions, score_of, smooth
from tasks.bundle.detection import find_boxes, output_shapes
from tasks.bundle.engineered import read_features
from tasks.bundle.format import BoxDecoding, ModelCard, Role, Task, read_model_card
from tasks.bundle.network import OnnxNetwork as OnnxNetwork
from tasks.bundle.network import Outputs as Outputs
from tasks.bundle.preprocessing import DetectorSteps, Letterbox, Placement, Steps, frame, seen_region
from tasks.errors import BundleError
from tasks.features.feature_set import FeatureSet
from tasks.features.values import Values
from tasks.vision.boxes import DetectedBox
from tasks.vision.heat_maps import HeatMap
from tasks.vision.images import RgbImage, decode_rgb

BATCH_SIZE = 16
"""Images per network call: larger batches gain nothing on a CPU (measured) and cost memory."""
PATCHES_PER_CALL = 1024
"""Whose distances to all patches of a memory are held at a time: 8 MB for a memory of 2,000."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        confidences: label to confidence, 0 to 1, highest first; all labels of the model. A detector's confidence in a
            label is that of the label's surest box, 0 without one.
        labels: those whose confidence reaches their threshold, highest first.
        boxes: what a detector found, the surest first, whether or not it reaches its label's threshold; the hot
            regions that an anomaly model found.
        heat_map: how abnormal each part of the image is, of an anomaly model; None of others.
    """

    confidences: dict[str, float]
    labels: tuple[str, ...]
    boxes: tuple[DetectedBox, ...] = ()
    heat_map: HeatMap | None = None

    @property
    def top_label(self) -> str:
        """The label with the highest confidence."""
        return next(iter(self.confidences))


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """One image framed as the network takes it, small whatever the image's own size: what may wait in a queue.

    Attributes:
        pixels: S x S x 3, 8 bits, RGB, not yet normalised.
        width: of the image itself (pixels).
        height: of the image itself (pixels).
        values: its engineered features, F values; None for a model that sees none.
    """

    pixels: RgbImage
    width: int
    height: int
    values: Values | None = None


class _TaskModel(Protocol):
    """What a task makes of its networks; `shapes` are those of the outputs for one image."""

    shapes: dict[str, tuple[int, ...]]

    def run(self, images: Sequence[PreparedImage]) -> Outputs: ...

    def interpret(self, outputs: Outputs, image: PreparedImage) -> Prediction: ...


class _Classifier:
    def __init__(self, card: ModelCard, networks: Mapping[Role, OnnxNetwork]) -> None:
        self._card = card
        self._networks = networks
        self.shapes: dict[str, tuple[int, ...]] = {"confidences": (len(card.labels),)}

    def run(self, images: Sequence[PreparedImage]) -> Outputs:
        if "network" in self._networks:
            return {"confidences": self._networks["network"].run(_batch_of(images, self._card.steps))}
        kinds = []
        if "backbone" in self._networks:
            kinds.append(self._networks["backbone"].run(_batch_of(images, self._card.steps)))
        if self._card.features:
            kinds.append(np.stack([image.values for image in images if image.values is not None]))
        features = kinds[0] if len(kinds) == 1 else np.concatenate(kinds, axis=1)
        return {"confidences": self._networks["head"].run(features)}

    def interpret(self, outputs: Outputs, image: PreparedImage) -> Prediction:
        confidences = _highest_first(self._card.labels, outputs["confidences"])
        given = tuple(label for label, value in confidences.items() if value >= self._card.thresholds[label])
        return Prediction(confidences, given)


class _Detector:
    def __init__(self, card: ModelCard, networks: Mapping[Role, OnnxNetwork]) -> None:
        *adjustments, framing, normalise = card.steps
        if not isinstance(framing, Letterbox) or card.decoding is None:
            raise BundleError("a detector needs a letterbox and a decoding of its boxes")
        self._card = card
        self._steps: DetectorSteps = (*adjustments, framing, normalise)
        self._decoding = card.decoding
        self._network = networks["detector"]
        self.shapes = output_shapes(card.decoding, framing.size, len(card.labels))

    def run(self, images: Sequence[PreparedImage]) -> Outputs:
        return self._network.run_all(_batch_of(images, self._card.steps))

    def interpret(self, outputs: Outputs, image: PreparedImage) -> Prediction:
        boxes = self._boxes(outputs, image.width, image.height)
        surest = dict.fromkeys(self._card.labels, 0.0)
        for box in reversed(boxes):
            surest[box.label] = box.confidence
        confidences = _highest_first(self._card.labels, np.array(list(surest.values())))
        with_given_box = {box.label for box in boxes if box.is_given}
        return Prediction(confidences, tuple(label for label in confidences if label in with_given_box), boxes)

    def _boxes(self, outputs: Outputs, width: int, height: int) -> tuple[DetectedBox, ...]:
        placement = Placement.of(self._steps, width, height)
        found = find_boxes(outputs, self._decoding, placement.letterbox.size, placement.content_size)
        # Single-precision edges as doubles: left + width is then exactly the right edge, and never beyond the image.
        edges = placement.to_image(found.edges).tolist()
        return tuple(
            self._box(self._card.labels[label], score, *box)
            for label, score, box in zip(found.labels.tolist(), found.scores.tolist(), edges, strict=True)
        )

    def _box(self, label: str, score: float, left: float, top: float, right: float, bottom: float) -> DetectedBox:
        is_given = score >= self._card.thresholds[label]
        return DetectedBox(label, left, top, right - left, bottom - top, score, is_given)


class _AnomalyModel:
    def __init__(self, card: ModelCard, networks: Mapping[Role, OnnxNetwork]) -> None:
        if card.scoring is None:
            raise BundleError("an anomaly model needs a scoring of its distances")
        self._label = card.labels[0]
        self._threshold = card.thresholds[self._label]
        self._scoring = card.scoring
        self._steps = card.steps
        self._backbone, self._memory = networks["backbone"], networks["memory"]
        self.shapes: dict[str, tuple[int, ...]] = {"distances": (card.scoring.rows, card.scoring.columns)}

    def run(self, images: Sequence[PreparedImage]) -> Outputs:
        patches = self._backbone.run(_batch_of(images, self._steps))
        rows = patches.reshape(-1, patches.shape[-1])
        parts = [self._memory.run(rows[i : i + PATCHES_PER_CALL]) for i in range(0, len(rows), PATCHES_PER_CALL)]
        return {"distances": np.concatenate(parts).reshape(patches.shape[:-1])}

    def interpret(self, outputs: Outputs, image: PreparedImage) -> Prediction:
        heat = smooth(outputs["distances"], self._scoring)
        confidence = confidence_of(score_of(heat, self._scoring), self._scoring)
        is_given = confidence >= self._threshold
        seen = seen_region(self._steps, image.width, image.height)
        boxes = find_regions(heat, self._scoring, self._label, confidence, seen, is_given=is_given)
        given = (self._label,) if is_given else ()
        return Prediction(
            {self._label: confidence}, given, boxes, HeatMap.of(heat, seen.ratios(image.width, image.height))
        )


_MODELS: Mapping[Task, Callable[[ModelCard, Mapping[Role, OnnxNetwork]], _TaskModel]] = {
    "classification": _Classifier,
    "detection": _Detector,
    "anomaly": _AnomalyModel,
}


class Predictor:
    """A loaded model bundle.

    >>> predictor = Predictor.open(Path("bundle"))            # doctest: +SKIP
    >>> predictor.predict([image])[0].top_label               # doctest: +SKIP
    'bent_lead'
    """

    def __init__(
        self, card: ModelCard, networks: Mapping[Role, OnnxNetwork], features: FeatureSet | None = None
    ) -> None:
        self.card = card
        self._features = features
        self._networks = networks
        self._model = _MODELS[card.task](card, networks)

    @classmethod
    def open(cls, folder: Path, *, expected_digest: str = "", threads: int = 0) -> "Predictor":
        """Load a bundle from its folder, verifying all digests.

        Args:
            folder: the bundle.
            expected_digest: refuse any other bundle; empty accepts what is there.
            threads: ONNX Runtime threads; 0 means one per physical core.

        Raises:
            BundleError: when the bundle is damaged, changed or not of this format.
        """
        card = read_model_card(folder, expected_digest=expected_digest)
        networks = {
            role: OnnxNetwork((folder / network.file).read_bytes(), threads=threads)
            for role, network in card.networks.items()
        }
        predictor = cls(card, networks, read_features(folder, card.features) if card.features else None)
        predictor._require_answer(folder)
        return predictor

    def with_decoding(self, decoding: BoxDecoding) -> "Predictor":
        """Return the same detector with other settings of its decoding; the networks are shared."""
        return Predictor(self.card.model_copy(update={"decoding": decoding}), self._networks)

    def predict(self, images: Sequence[RgbImage]) -> list[Prediction]:
        """Predict decoded images (height x width x 3, RGB, 8 bits), in order."""
        predictions: list[Prediction] = []
        for start in range(0, len(images), BATCH_SIZE):
            predictions += self.predict_prepared([self.prepare(image) for image in images[start : start + BATCH_SIZE]])
        return predictions

    def prepare(self, image: RgbImage) -> PreparedImage:
        """Frame a decoded image as the model takes it; any thread may do so, beside others."""
        return self.prepare_framed(frame(image, self.card.steps), image.shape[1], image.shape[0])

    def prepare_framed(self, framed: RgbImage, width: int, height: int) -> PreparedImage:
        """Take an image that is framed already, and was `width` x `height` pixels before."""
        values = self._features.extract(framed) if self._features else None
        return PreparedImage(framed, width, height, values)

    def predict_prepared(self, images: Sequence[PreparedImage]) -> list[Prediction]:
        """Predict framed images in one call of the network, in order; `BATCH_SIZE` of them cost the least each."""
        if not images:
            return []
        outputs = self._model.run(images)
        return [
            self._model.interpret({name: rows[place] for name, rows in outputs.items()}, image)
            for place, image in enumerate(images)
        ]

    def predict_bytes(self, files: Sequence[bytes]) -> list[Prediction]:
        """Decode image files and predict them, in order.

        Raises:
            tasks.vision.images.ImageError: when one of them is no usable image.
        """
        return self.predict([decode_rgb(data) for data in files])

    def _require_answer(self, folder: Path) -> None:
        # Networks may each be sound and yet not fit each other, the steps, the labels or the decoding.
        black = np.zeros((8, 8, 3), np.uint8)
        try:
            outputs = self._model.run([self.prepare(black)])
        except Exception as error:  # ONNX Runtime raises its own unexported exception types
            raise BundleError(f"the networks in {folder} do not fit each other or the steps: {error}") from error
        expected = {name: (1, *shape) for name, shape in self._model.shapes.items()}
        found = {name: values.shape for name, values in outputs.items()}
        if found != expected:
            raise BundleError(f"the networks in {folder} answer {found}, expected {expected}; register the model anew")
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise BundleError(f"the networks in {folder} answer with no finite numbers; register the model anew")


def _batch_of(images: Sequence[PreparedImage], steps: Steps) -> NDArray[np.float32]:
    """Return N x 3 x height x width, normalised."""
    return steps[-1].apply_to_batch(np.stack([image.pixels for image in images]))


def _highest_first(labels: Sequence[str], values: NDArray[np.floating]) -> dict[str, float]:
    order = np.argsort(-values, kind="stable")
    return {labels[i]: float(values[i]) for i in order}
