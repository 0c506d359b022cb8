"""Evaluation, as Prefect runs it: the bundle answers the test images; figures, files and the gate's verdict."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows.config import GateConfig
from tasks import engine
from tasks.bundle.predictor import Predictor
from tasks.evaluate.anomaly import anomaly_headline, evaluate_anomaly_model
from tasks.evaluate.answers import Answers, Measured
from tasks.evaluate.classification import classifier_headline, evaluate_classifier
from tasks.evaluate.detection import detector_headline, evaluate_detector
from tasks.evaluate.gate import judge_metrics
from tasks.evaluate.multi_label import evaluate_multi_label, multi_label_headline
from tasks.evaluate.predictions import predict_entries, write_predictions
from tasks.evaluate.records import (
    FIGURES_FOLDER,
    PREDICTIONS_FILE,
    SNAPSHOT_FILE,
    SUMMARY_FILE,
    Evaluation,
)
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.metrics.anomaly import AnomalyMetrics
from tasks.metrics.detection import DetectionMetrics
from tasks.metrics.multi_label import MultiLabelMetrics
from tasks.metrics.task_metrics import TaskMetrics
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.train.records import TrainedModel

STAGE_VERSION = "4"
EVALUATORS: Mapping[str, Callable[[Answers], Measured[TaskMetrics]]] = {
    "classification": evaluate_classifier,
    "detection": evaluate_detector,
    "anomaly": evaluate_anomaly_model,
}
LIBRARIES = (
    "scikit-learn",
    "faster-coco-eval",
    "matplotlib",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "numpy",
)


@engine.stage("evaluate model")
def evaluate_model(home: Home, manifest: Manifest, model: TrainedModel, gate: GateConfig) -> Evaluation:
    """Measure the bundle on the test split and judge the figures."""
    key = StageKey(
        stage="evaluate",
        version=STAGE_VERSION,
        inputs={"bundle": model.bundle_digest, "manifest": manifest.manifest_digest, "training": model.key},
        config={},
        libraries=LIBRARIES,
    )

    def make(folder: Path) -> Evaluation:
        answers = _answers(manifest, model)
        evaluate = evaluate_multi_label if manifest.is_multi_label else EVALUATORS[manifest.task]
        measured = evaluate(answers)
        _write(folder, answers, measured)
        return Evaluation(
            bundle_digest=model.bundle_digest, manifest_digest=manifest.manifest_digest, metrics=measured.metrics
        )

    record, path = home.store.reuse_or_make(key, Evaluation, make)
    record = record.model_copy(
        update={"entry_path": str(path), "gate": judge_metrics(record.metrics, gate.model_dump())}
    )
    _tell(record, headline(record.metrics))
    return record


def _answers(manifest: Manifest, model: TrainedModel) -> Answers:
    predictor = Predictor.open(model.bundle_path, expected_digest=model.bundle_digest)
    entries = list(read_manifest(manifest.manifest_path("test")))
    with engine.progress("predict test images", "images") as report:
        predictions = predict_entries(predictor, Path(manifest.roots["test"]), entries, report)
    return Answers(
        predictions=predictions,
        sizes=[(entry.width, entry.height) for entry in entries],
        labels=predictor.card.labels,
        thresholds=predictor.card.thresholds,
        class_ids={label: index for index, label in enumerate(manifest.labels)},
        training_images=manifest.totals["train"],
        version_arn=f"keeneye:{manifest.dataset_name}:{model.bundle_digest[:32]}",
        cross_validated=model.cross_validated,
        entries=entries,
        root=Path(manifest.roots["test"]),
    )


def _write(folder: Path, answers: Answers, measured: Measured[Any]) -> None:
    from tasks.evaluate.shared_figures import save_figures

    write_predictions(folder / PREDICTIONS_FILE, answers.predictions)
    save_figures(measured.drawings, folder / FIGURES_FOLDER)
    summary = json.dumps(measured.summary, indent=2, ensure_ascii=False)
    (folder / SUMMARY_FILE).write_text(summary, encoding="utf-8")
    lines = [json.dumps(line, ensure_ascii=False) for line in measured.snapshot]
    (folder / SNAPSHOT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def headline(metrics: TaskMetrics) -> str:
    """Return the figures that a log line tells."""
    if isinstance(metrics, AnomalyMetrics):
        return anomaly_headline(metrics)
    if isinstance(metrics, MultiLabelMetrics):
        return multi_label_headline(metrics)
    return detector_headline(metrics) if isinstance(metrics, DetectionMetrics) else classifier_headline(metrics)


def _tell(record: Evaluation, figures: str) -> None:
    rows = [{"label": label, **of_label.model_dump()} for label, of_label in record.metrics.per_label.items()]
    engine.publish_table("metrics", rows, f"Test images: {figures}")
    log = engine.logger()
    log.info("test images: %s", figures)
    for reason in record.gate.reasons:
        log.warning("gate: %s", reason)
