"""The model as third parties load it: `mlflow.pyfunc.load_model(uri).predict(DataFrame with a column "image")`.

Takes image files' bytes or decoded arrays (height x width x 3, RGB, 8 bits), never paths. Keeneye itself does not
use this wrapper; it opens the bundle with the predictor.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from tasks.bundle.predictor import Prediction, Predictor
from tasks.vision.boxes import DetectedBox
from tasks.vision.images import RgbImage, decode_rgb


class ImageModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow ships no types
    """A Keeneye bundle behind MLflow's model interface."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow ships no types
        """Open the bundle that was logged with the model."""
        self._predictor = Predictor.open(Path(context.artifacts["bundle"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ANN401
        """Predict the images of the column `image`.

        Returns:
            One row per image: `label` (highest confidence), `confidence` (0 to 1), `labels` (those that reach their
            threshold) and `confidences` (label to confidence, all labels). A detector and an anomaly model add `boxes`:
            those that reach their label's threshold, the surest first, as `label`, `confidence`, `left`, `top`,
            `width`, `height` (pixels of the image).
        """
        predictions = self._predictor.predict([_decoded(image) for image in model_input["image"]])
        row = _row_with_boxes if self._predictor.card.finds_boxes else _row
        return pd.DataFrame([row(prediction) for prediction in predictions])


def _decoded(image: bytes | RgbImage) -> RgbImage:
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_rgb(bytes(image))
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f"an image array must be height x width x 3 of type uint8 (RGB), found {array.shape} of {array.dtype}"
        )
    return np.ascontiguousarray(array)


def _row(prediction: Prediction) -> dict[str, Any]:
    return {
        "label": prediction.top_label,
        "confidence": prediction.confidences[prediction.top_label],
        "labels": list(prediction.labels),
        "confidences": prediction.confidences,
    }


def _row_with_boxes(prediction: Prediction) -> dict[str, Any]:
    return {**_row(prediction), "boxes": [_box(box) for box in prediction.boxes if box.is_given]}


def _box(box: DetectedBox) -> dict[str, str | float]:
    return {
        "label": box.label,
        "confidence": box.confidence,
        "left": box.left,
        "top": box.top,
        "width": box.width,
        "height": box.height,
    }


mlflow.models.set_model(ImageModel())
