"""The process of the inference test: fetch a registered version by its address, run it, compare, write the outcome.

Started afresh after a training (`python -m tasks.inference_test.probe REQUEST.json OUTCOME.json`), so that nothing of
the training process helps the model along. Imports no torch and no scikit-learn.
"""

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel

from tasks.bundle.predictor import Prediction, Predictor
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import EnvironmentFailed, KeeneyeError, SourceChanged
from tasks.evaluate.records import ImagePrediction, read_predictions
from tasks.ground_truth.manifests import read_manifest
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.matching import edge_difference, pair_same_boxes
from tasks.stores.home import Home
from tasks.tracking.registry import Registry

WARM_UP_IMAGES = 3
MAX_BOX_SHIFT_PIXELS = 0.5

T = TypeVar("T")


class ProbeRequest(BaseModel, frozen=True, extra="forbid"):
    """What to test, against what.

    Attributes:
        home: root folder of the Keeneye home.
        tracking_uri: MLflow's tracking store.
        registry_uri: MLflow's model registry.
        model_uri: `models:/` address of the version.
        expected_digest: digest that the fetched bundle must have.
        manifest: the test manifest.
        root: folder to which its references are relative.
        predictions: the predictions made at evaluation.
        max_confidence_drift: largest difference allowed between a confidence and the one at evaluation.
        max_latency_ms: longest time per image allowed, 95th percentile.
        limits_of: the group of settings that the two limits stand in, for the reasons.
        max_images: so many of the test images at most, evenly spread over the manifest; 0 takes all.
    """

    home: Path
    tracking_uri: str
    registry_uri: str
    model_uri: str
    expected_digest: str
    manifest: Path
    root: Path
    predictions: Path
    max_confidence_drift: float
    max_latency_ms: float
    limits_of: str = "gate"
    max_images: int = 0


def probe(request: ProbeRequest) -> InferenceOutcome:
    """Fetch, verify and run the version; a fault of the model is an outcome with its reason.

    Raises:
        EnvironmentFailed: when the registry does not answer: nothing is known of the model then.
        SourceChanged: when a test image is gone or changed since ingest.
    """
    home = Home(request.home, request.tracking_uri, request.registry_uri)
    with tempfile.TemporaryDirectory(prefix="keeneye-probe-") as scratch:
        try:
            bundle = Registry(home).fetch_bundle(request.model_uri, Path(scratch))
            predictor = Predictor.open(bundle, expected_digest=request.expected_digest)
            entries = _spread(list(read_manifest(request.manifest)), request.max_images)
            answers, milliseconds = _run(predictor, request.root, entries)
        except (EnvironmentFailed, SourceChanged):
            raise
        except KeeneyeError as error:
            return InferenceOutcome(passed=False, reasons=(f"inference test: {error.message}",))
        except Exception as error:  # a network may be valid ONNX and still fail when it runs
            return InferenceOutcome(
                passed=False, reasons=(f"inference test: the model cannot be run: {type(error).__name__}: {error}",)
            )
    floor = predictor.card.decoding.score_floor if predictor.card.decoding else 0.0
    evaluated = _spread(list(read_predictions(request.predictions)), request.max_images)
    return judge(answers, evaluated, milliseconds, request, floor)


def judge(
    answers: Sequence[Prediction],
    evaluated: Sequence[ImagePrediction],
    milliseconds: Sequence[float],
    request: ProbeRequest,
    score_floor: float = 0.0,
) -> InferenceOutcome:
    """Compare what the registered model answers with what was measured at evaluation, and with the limits.

    Boxes at or below `score_floor`, 0 to 1, are not told by the model.
    """
    pairs = list(zip(answers, evaluated, strict=True))
    right = [_as_evaluated(answer, before).is_correct for answer, before in pairs]
    before_right = [before.is_correct for before in evaluated]
    allowed = request.max_confidence_drift
    drift = max(_drift(answer, before, score_floor, allowed) for answer, before in pairs)
    shift = max(_shift_pixels(answer, before, allowed) for answer, before in pairs)
    p50, p95 = (float(np.percentile(milliseconds, q)) for q in (50, 95))
    accuracy, expected = float(np.mean(right)), float(np.mean(before_right))
    reasons = []
    if shift > MAX_BOX_SHIFT_PIXELS:
        reasons.append(
            f"inference test: an edge of a box lies {shift:.3g} pixels from where it was at the evaluation, more than "
            f"{MAX_BOX_SHIFT_PIXELS:g}"
        )
    if accuracy != expected:
        reasons.append(f"inference test: accuracy {accuracy:.3f} differs from the evaluation's {expected:.3f}")
    if drift > request.max_confidence_drift:
        reasons.append(
            f"inference test: a confidence differs by {drift:.3g} from the evaluation's, more than "
            f"{request.limits_of}.max_confidence_drift {request.max_confidence_drift:g}"
        )
    if p95 > request.max_latency_ms:
        reasons.append(
            f"inference test: {p95:.0f} ms per image (95th percentile) exceed {request.limits_of}.max_latency_ms "
            f"{request.max_latency_ms:g}"
        )
    return InferenceOutcome(
        passed=not reasons,
        reasons=tuple(reasons),
        accuracy=accuracy,
        images=len(answers),
        max_confidence_drift=drift,
        max_box_shift_pixels=shift,
        latency_ms_p50=round(p50, 3),
        latency_ms_p95=round(p95, 3),
    )


def _run(predictor: Predictor, root: Path, entries: Sequence[ImageEntry]) -> tuple[list[Prediction], list[float]]:
    for entry in entries[:WARM_UP_IMAGES]:
        predictor.predict_bytes([read_image_bytes(root, entry)])
    answers, milliseconds = [], []
    for entry in entries:
        data = read_image_bytes(root, entry)
        start = time.perf_counter()
        answers += predictor.predict_bytes([data])
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return answers, milliseconds


def _spread(items: list[T], most: int) -> list[T]:
    step = -(-len(items) // most) if most else 1
    return items[::step]


def _drift(answer: Prediction, before: ImagePrediction, floor: float, allowed: float) -> float:
    if set(answer.confidences) != set(before.confidences) or not all(map(math.isfinite, answer.confidences.values())):
        return 1.0
    differences = [abs(value - before.confidences[label]) for label, value in answer.confidences.items()]
    pairs, unpaired = pair_same_boxes(answer.boxes, before.boxes or (), allowed)
    # A box at the lowest confidence that is told may be told once and not again.
    if any(box.confidence > floor + allowed for box in unpaired):
        return 1.0
    return max([*differences, *(abs(one.confidence - other.confidence) for one, other in pairs)])


def _shift_pixels(answer: Prediction, before: ImagePrediction, allowed: float) -> float:
    pairs, _ = pair_same_boxes(answer.boxes, before.boxes or (), allowed)
    return max((edge_difference(one, other) for one, other in pairs), default=0.0)


def _as_evaluated(answer: Prediction, before: ImagePrediction) -> ImagePrediction:
    boxes = None if before.boxes is None else answer.boxes
    return before.model_copy(update={"confidences": answer.confidences, "given": answer.labels, "boxes": boxes})


def main(arguments: Sequence[str]) -> None:
    """Read the request file, write the outcome file; end with an error's exit code when nothing can be said."""
    request = ProbeRequest.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    try:
        outcome = probe(request)
    except KeeneyeError as error:
        sys.stderr.write(error.message)
        sys.exit(error.exit_code)
    Path(arguments[1]).write_text(outcome.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
