"""The one predictor: evaluation, the inference test, batch prediction and serving all use it.

Runs on numpy, OpenCV, Pillow and ONNX Runtime; imports no torch, no scikit-learn, and loads no pickle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tasks.bundle.format import ModelCard, read_model_card
from tasks.bundle.preprocessing import prepare_batch
from tasks.errors import BundleError
from tasks.vision.images import RgbImage, decode_rgb

BATCH_SIZE = 16
"""Images per network call: larger batches gain nothing on a CPU (measured) and cost memory."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        confidences: label to confidence, 0 to 1, highest first; all labels of the model.
        labels: those whose confidence reaches their threshold, highest first.
    """

    confidences: dict[str, float]
    labels: tuple[str, ...]

    @property
    def top_label(self) -> str:
        """The label with the highest confidence."""
        return next(iter(self.confidences))


class OnnxNetwork:
    """An ONNX graph with one input and one or more outputs."""

    def __init__(self, model: bytes, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            # From bytes, so that a graph cannot pull weights from files outside the bundle.
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own unexported exception types
            raise BundleError(f"ONNX Runtime refuses the network: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[-1].name

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch; returns the last output."""
        return np.asarray(self._session.run([self._output], {self._input: batch})[0], dtype=np.float32)


class Predictor:
    """A loaded model bundle.

    >>> predictor = Predictor.open(Path("bundle"))            # doctest: +SKIP
    >>> predictor.predict([image])[0].top_label               # doctest: +SKIP
    'bent_lead'
    """

    def __init__(self, card: ModelCard, backbone: OnnxNetwork, head: OnnxNetwork) -> None:
        self.card = card
        self._backbone = backbone
        self._head = head

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
        if set(networks) != {"backbone", "head"}:
            raise BundleError(f"{folder} holds the networks {sorted(networks)}, expected a backbone and a head")
        predictor = cls(card, networks["backbone"], networks["head"])
        predictor._require_answer(folder)
        return predictor

    def predict(self, images: Sequence[RgbImage]) -> list[Prediction]:
        """Predict decoded images (height x width x 3, RGB, 8 bits), in order."""
        predictions: list[Prediction] = []
        for start in range(0, len(images), BATCH_SIZE):
            batch = prepare_batch(list(images[start : start + BATCH_SIZE]), self.card.steps)
            predictions += [self._interpret(row) for row in self._head.run(self._backbone.run(batch))]
        return predictions

    def predict_bytes(self, files: Sequence[bytes]) -> list[Prediction]:
        """Decode image files and predict them, in order.

        Raises:
            tasks.vision.images.ImageError: when one of them is no usable image.
        """
        return self.predict([decode_rgb(data) for data in files])

    def _require_answer(self, folder: Path) -> None:
        # Networks may each be sound and yet not fit each other, the steps or the labels.
        resize = self.card.steps[0]
        black = np.zeros((resize.height, resize.width, 3), np.uint8)
        try:
            answer = self._head.run(self._backbone.run(prepare_batch([black], self.card.steps)))
        except Exception as error:  # ONNX Runtime raises its own unexported exception types
            raise BundleError(f"the networks in {folder} do not fit each other or the steps: {error}") from error
        if answer.shape != (1, len(self.card.labels)) or not np.isfinite(answer).all():
            raise BundleError(
                f"the networks in {folder} answer with shape {answer.shape}, expected one number for each of "
                f"{len(self.card.labels)} labels; register the model anew"
            )

    def _interpret(self, probabilities: NDArray[np.float32]) -> Prediction:
        order = np.argsort(-probabilities, kind="stable")
        confidences = {self.card.labels[i]: float(probabilities[i]) for i in order}
        given = tuple(label for label, value in confidences.items() if value >= self.card.thresholds[label])
        return Prediction(confidences, given)
