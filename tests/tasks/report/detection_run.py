"""Detection runs made by hand, over painted images: `made_run` is what a report needs of one."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding
from tasks.dataset.truth import Truth
from tasks.evaluate.gate import judge_detection
from tasks.evaluate.records import ImagePrediction
from tasks.inference_test.records import InferenceOutcome
from tasks.metrics.detection import CrossValidatedDetection, measure_detections
from tasks.report.inputs import ReportInputs
from tasks.vision.boxes import BoundingBox, DetectedBox
from tests.makers import paint_with_boxes, save

SIDE = 96
THRESHOLD = 0.4
HISTORY = [
    {"epoch": epoch, "loss": 3.0 / epoch, "box_loss": 1.0 / epoch, "validation_map_50": 0.1 * epoch, "seconds": 2.0}
    for epoch in range(1, 9)
]


@dataclass(frozen=True)
class Case:
    """A test image: its reference, its true boxes and those found."""

    ref: str
    true_boxes: tuple[BoundingBox, ...] = ()
    boxes: tuple[DetectedBox, ...] = ()
    side: int = SIDE


def true(label="bent", left=10, top=12, width=30, height=24):
    return BoundingBox(label, left, top, width, height)


def given(confidence, label="bent", left=10.0, top=12.0, width=30.0, height=24.0):
    return DetectedBox(label, left, top, width, height, confidence, confidence >= THRESHOLD)


RIGHT = Case("right.png", (true(),), (given(0.9),))
UNSURE = Case("unsure.png", (true(),), (given(0.5),))
EMPTY = Case("empty.png")
MISSED = Case("missed.png", (true(),), (given(0.2),))
ALARM = Case("alarm.png", (), (given(0.7),))
MISTAKEN = Case("mistaken.png", (true("cut"),), (given(0.8, "bent"),))
CASES = (RIGHT, UNSURE, EMPTY, MISSED, ALARM, MISTAKEN)


def entry_of(case):
    """An entry without a file."""
    labels = tuple(sorted({box.label for box in case.true_boxes}))
    return ImageEntry(case.ref, "0" * 64, case.side, case.side, Truth(labels, case.true_boxes))


def painted(root: Path, case: Case, seed: int) -> ImageEntry:
    boxes = [(box.left, box.top, box.width, box.height) for box in case.true_boxes]
    save(root / case.ref, paint_with_boxes(boxes, case.side, (seed,)))
    digest = hashlib.sha256((root / case.ref).read_bytes()).hexdigest()
    entry = entry_of(case)
    return ImageEntry(entry.source_ref, digest, entry.width, entry.height, entry.truth)


def predicted(case):
    return ImagePrediction(
        source_ref=case.ref,
        sha256="",
        truth=tuple(sorted({box.label for box in case.true_boxes})),
        confidences={},
        given=tuple(sorted({box.label for box in case.boxes if box.is_given})),
        true_boxes=case.true_boxes,
        boxes=tuple(sorted(case.boxes, key=lambda box: -box.confidence)),
    )


def run_of(cases=CASES, learned=(), *, labels=("bent", "cut"), crossed=False, spread=0.02, entries=None, **changes):
    """A run whose images need not exist; `learned` are those of the train split."""
    labels = sorted(labels)
    truths, boxes = [case.true_boxes for case in cases], [case.boxes for case in cases]
    metrics = measure_detections(truths, boxes, labels, dict.fromkeys(labels, THRESHOLD))
    if crossed:
        estimate = CrossValidatedDetection(
            map=0.512,
            map_50=0.823,
            map_50_std=spread,
            macro_f1=0.734,
            folds=5,
            images=61,
            per_label=metrics.per_label,
        )
        metrics = metrics.model_copy(update={"cross_validated": estimate})
    gate = judge_detection(metrics, 0.5, 0.5)
    stated = {"train": [entry_of(case) for case in learned], "validation": [], "test": [entry_of(c) for c in cases]}
    values = {
        "task": "detection",
        "model_name": "parts-detection",
        "model_version": "4",
        "status": "staged" if gate.passed else "rejected",
        "labels": labels,
        "metrics": metrics,
        "gate": gate,
        "inference": InferenceOutcome(passed=True, images=len(cases), latency_ms_p50=41.0, latency_ms_p95=55.2),
        "predictions": [predicted(case) for case in cases],
        "out_of_fold": [],
        "entries": entries or stated,
        "roots": dict.fromkeys(stated, Path("nowhere")),
        "findings": [Finding(code="ERROR_EMPTY_FILE", source_ref="bent/void.png", message="the file has no bytes")],
        "figures_path": Path("nowhere"),
        "provenance": {"Dataset": "parts", "Seed": "0"},
        "input_size": 320,
        "chosen": {"epochs": 8, "best_epoch": 6},
        "history": HISTORY,
    }
    return ReportInputs(**(values | changes))


def painted_run(root, cases=CASES, learned=(RIGHT, MISTAKEN, EMPTY), **changes):
    """A run with all its images."""
    entries = {
        "train": [painted(root / "train", case, 100 + place) for place, case in enumerate(learned)],
        "validation": [],
        "test": [painted(root / "test", case, place) for place, case in enumerate(cases)],
    }
    roots = {split: root / split for split in entries}
    return run_of(cases, entries=entries, roots=roots, figures_path=root / "figures", **changes)
