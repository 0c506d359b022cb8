"""The process of the inference test: fetch a registered version by its address, run it, compare, write the outcome.

Started afresh after a training (`python -m tasks.inference_test.probe REQUEST.json OUTCOME.json`), so that nothing of
the training process helps the model along. Imports no torch and no scikit-learn.
"""

import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel

from tasks.bundle.anomaly import MAX_HEAT_DRIFT
from tasks.bundle.predictor import Prediction, Predictor
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import is_unchanged, read_image_bytes
from tasks.errors import DataError, EnvironmentFailed, KeeneyeError, SourceChanged
from tasks.evaluate.records import ImagePrediction, read_predictions
from tasks.ground_truth.manifests import read_manifest
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.matching import MAX_BOX_SHIFT_PIXELS, edge_difference, pair_same_boxes
from tasks.stores.home import Home
from tasks.tracking.registry import Registry
from tasks.vision.heat_maps import heat_difference

WARM_UP_IMAGES = 3

T = TypeVar("T")


class EvaluatedImages(BaseModel, frozen=True, extra="forbid"):
    """The images of an evaluation, and the answers to them.

    Attributes:
        manifest: the test manifest.
        root: folder to which its references are relative.
        predictions: the predictions made at evaluation.
    """

    manifest: Path
    root: Path
    predictions: Path


class ProbeRequest(BaseModel, frozen=True, extra="forbid"):
    """What to test, against what.

    Attributes:
        home: root folder of the Keeneye home.
        tracking_uri: MLflow's tracking store.
        registry_uri: MLflow's model registry.
        model_uri: `models:/` address of the version.
        expected_digest: digest that the fetched bundle must have.
        evaluated: what to compare with; None when it is not on this machine, which only a rollback may bear.
        max_confidence_drift: largest difference allowed between a confidence and the one at evaluation.
        max_latency_ms: longest time per image allowed, 95th percentile.
        limits_of: the group of settings that the two limits stand in, for the reasons.
        max_images: so many of the test images at most, evenly spread over the manifest; 0 takes all.
        is_rollback: the version was in use before, and somebody needs it back: that the machine is slow just now, or
            has lost images or the evaluation, is a warning.
    """

    home: Path
    tracking_uri: str
    registry_uri: str
    model_uri: str
    expected_digest: str
    evaluated: EvaluatedImages | None
    max_confidence_drift: float
    max_latency_ms: float
    limits_of: str = "gate"
    max_images: int = 0
    is_rollback: bool = False


class _Case(NamedTuple):
    root: Path
    entry: ImageEntry
    evaluated: ImagePrediction


def probe(request: ProbeRequest) -> InferenceOutcome:
    """Fetch, verify and run the version; a fault of the model is an outcome with its reason.

    Raises:
        EnvironmentFailed: when the registry does not answer: nothing is known of the model then.
        SourceChanged: when a test image is gone or changed since ingest, unless it is a rollback.
    """
    home = Home(request.home, request.tracking_uri, request.registry_uri)
    with tempfile.TemporaryDirectory(prefix="keeneye-probe-") as scratch:
        try:
            bundle = Registry(home).fetch_bundle(request.model_uri, Path(scratch))
            predictor = Predictor.open(bundle, expected_digest=request.expected_digest)
            cases, warnings = _cases(request)
            answers, milliseconds = _run(predictor, cases)
        except (EnvironmentFailed, SourceChanged):
            raise
        except KeeneyeError as error:
            return InferenceOutcome(passed=False, reasons=(f"inference test: {error.message}",))
        except Exception as error:  # a network may be valid ONNX and still fail when it runs
            return InferenceOutcome(
                passed=False, reasons=(f"inference test: the model cannot be run: {type(error).__name__}: {error}",)
            )
    if request.is_rollback and not cases:
        return InferenceOutcome(passed=True, warnings=warnings)
    card = predictor.card
    floor = card.decoding.score_floor if card.decoding else 0.0
    limit = card.scoring.region_limit if card.scoring else 0.0
    evaluated = [case.evaluated for case in cases]
    outcome = judge(answers, evaluated, milliseconds, request, score_floor=floor, region_limit=limit)
    return outcome.model_copy(update={"warnings": (*warnings, *outcome.warnings)})


def judge(
    answers: Sequence[Prediction],
    evaluated: Sequence[ImagePrediction],
    milliseconds: Sequence[float],
    request: ProbeRequest,
    *,
    score_floor: float = 0.0,
    region_limit: float = 0.0,
) -> InferenceOutcome:
    """Compare what the registered model answers with what was measured at evaluation, and with the limits.

    Boxes at or below `score_floor`, 0 to 1, are not told by a detector. `region_limit` is the heat from which on an
    anomaly model sees an abnormal region, above 0.
    """
    pairs = list(zip(answers, evaluated, strict=True))
    right = [_as_evaluated(answer, before).is_correct for answer, before in pairs]
    allowed = request.max_confidence_drift
    p50, p95 = (float(np.percentile(milliseconds, q)) for q in (50, 95))
    measured = InferenceOutcome(
        passed=True,
        accuracy=float(np.mean(right)),
        images=len(answers),
        max_confidence_drift=max(_drift(answer, before, score_floor, allowed) for answer, before in pairs),
        max_box_shift_pixels=max(_shift_pixels(answer, before, allowed) for answer, before in pairs),
        max_heat_drift=max(_heat_drift(answer, before, region_limit) for answer, before in pairs),
        latency_ms_p50=round(p50, 3),
        latency_ms_p95=round(p95, 3),
    )
    expected = float(np.mean([before.is_correct for before in evaluated]))
    reasons, slow = tuple(_differences(measured, expected, request)), tuple(_slowness(p95, request))
    if request.is_rollback:
        return measured.model_copy(update={"passed": not reasons, "reasons": reasons, "warnings": slow})
    return measured.model_copy(update={"passed": not (reasons or slow), "reasons": (*reasons, *slow)})


def _differences(measured: InferenceOutcome, expected: float, request: ProbeRequest) -> Iterator[str]:
    if measured.max_box_shift_pixels > MAX_BOX_SHIFT_PIXELS:
        yield (
            f"inference test: an edge of a box lies {measured.max_box_shift_pixels:.3g} pixels from where it was at "
            f"the evaluation, more than {MAX_BOX_SHIFT_PIXELS:g}"
        )
    if measured.max_heat_drift > MAX_HEAT_DRIFT:
        yield (
            f"inference test: a heat map differs by {100 * measured.max_heat_drift:.3g} % from the evaluation's, more "
            f"than {100 * MAX_HEAT_DRIFT:g} %"
        )
    if measured.accuracy != expected:
        yield f"inference test: accuracy {measured.accuracy:.3f} differs from the evaluation's {expected:.3f}"
    if measured.max_confidence_drift > request.max_confidence_drift:
        yield (
            f"inference test: a confidence differs by {measured.max_confidence_drift:.3g} from the evaluation's, more "
            f"than {request.limits_of}.max_confidence_drift {request.max_confidence_drift:g}"
        )


def _slowness(p95: float, request: ProbeRequest) -> Iterator[str]:
    if p95 > request.max_latency_ms:
        yield (
            f"inference test: {p95:.0f} ms per image (95th percentile) exceed {request.limits_of}.max_latency_ms "
            f"{request.max_latency_ms:g}"
        )


def _cases(request: ProbeRequest) -> tuple[list[_Case], tuple[str, ...]]:
    """Return what the version is asked, and what it could not be asked of a rollback, a sentence each."""
    if not request.is_rollback:
        return _all_cases(request), ()
    try:
        known = _all_cases(request)
    except (KeeneyeError, OSError, ValueError) as error:  # gone, or of an older Keeneye
        return [], (f"inference test: nothing was compared with the evaluation: {' '.join(str(error).split())}",)
    gone = [case for case in known if not is_unchanged(case.root, case.entry)]
    if not gone:
        return known, ()
    told = f"{len(gone)} of {len(known)} test images are gone or changed, the first of them {gone[0].entry.source_ref}"
    return [case for case in known if case not in gone], (f"inference test: {told}",)


def _all_cases(request: ProbeRequest) -> list[_Case]:
    images = request.evaluated
    if images is None:
        raise DataError("its test manifest or its evaluation is not in this KEENEYE_HOME")
    pairs = zip(read_manifest(images.manifest), read_predictions(images.predictions), strict=True)
    return _spread([_Case(images.root, *pair) for pair in pairs], request.max_images)


def _run(predictor: Predictor, cases: Sequence[_Case]) -> tuple[list[Prediction], list[float]]:
    for case in cases[:WARM_UP_IMAGES]:
        predictor.predict_bytes([read_image_bytes(case.root, case.entry)])
    answers, milliseconds = [], []
    for case in cases:
        data = read_image_bytes(case.root, case.entry)
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
    if before.heat_map is not None:  # its boxes follow from it, and by a rounding are others
        return max(differences)
    pairs, unpaired = pair_same_boxes(answer.boxes, before.boxes or (), allowed)
    # A box at the lowest confidence that is told may be told once and not again.
    if any(box.confidence > floor + allowed for box in unpaired):
        return 1.0
    return max([*differences, *(abs(one.confidence - other.confidence) for one, other in pairs)])


def _shift_pixels(answer: Prediction, before: ImagePrediction, allowed: float) -> float:
    if before.heat_map is not None:
        return 0.0
    pairs, _ = pair_same_boxes(answer.boxes, before.boxes or (), allowed)
    return max((edge_difference(one, other) for one, other in pairs), default=0.0)


def _heat_drift(answer: Prediction, before: ImagePrediction, region_limit: float) -> float:
    if answer.heat_map is None or before.heat_map is None:
        return float(answer.heat_map is not before.heat_map)
    return heat_difference(answer.heat_map, before.heat_map, region_limit)


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
    os._exit(0)  # all is written; the interpreter would take apart what was imported, for half a second
