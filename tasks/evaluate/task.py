"""Evaluation, as Prefect runs it: the bundle answers the test images; figures, files and the gate's verdict."""

import json
from pathlib import Path

from flows.config import GateConfig
from tasks import engine
from tasks.bundle.predictor import Predictor
from tasks.evaluate.gate import judge
from tasks.evaluate.predictions import confidence_matrix, predict_entries, write_predictions
from tasks.evaluate.records import FIGURES_FOLDER, PREDICTIONS_FILE, SNAPSHOT_FILE, SUMMARY_FILE, Evaluation
from tasks.evaluate.service_files import evaluation_summary, snapshot_line
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.metrics.classification import confusion_matrix, measure, truths_of
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.train.records import TrainedModel

STAGE_VERSION = "1"


@engine.stage("evaluate model")
def evaluate_model(home: Home, manifest: Manifest, model: TrainedModel, gate: GateConfig) -> Evaluation:
    """Measure the bundle on the test split and judge the figures."""
    key = StageKey(
        stage="evaluate",
        version=STAGE_VERSION,
        inputs={"bundle": model.bundle_digest, "manifest": manifest.manifest_digest, "training": model.key},
        config={},
        libraries=("scikit-learn", "matplotlib", "onnxruntime", "opencv-python-headless", "pillow", "numpy"),
    )

    def make(folder: Path) -> Evaluation:
        # matplotlib and scikit-learn take seconds to load; a run that finds its figures does without.
        from tasks.evaluate.figures import draw_figures, save_figures

        predictor = Predictor.open(model.bundle_path, expected_digest=model.bundle_digest)
        labels = predictor.card.labels
        entries = list(read_manifest(manifest.manifest_path("test")))
        with engine.progress("predict test images", "images") as report:
            predictions = predict_entries(predictor, Path(manifest.roots["test"]), entries, report)
        truths = truths_of([entry.truth.labels for entry in entries], labels)
        confidences = confidence_matrix(predictions, labels)
        metrics = measure(truths, confidences, labels, predictor.card.thresholds, model.cross_validated)
        write_predictions(folder / PREDICTIONS_FILE, predictions)
        save_figures(draw_figures(truths, confidences, labels, metrics), folder / FIGURES_FOLDER)
        arn = f"keeneye:{manifest.dataset_name}:{model.bundle_digest[:32]}"
        training_images = sum(manifest.images["train"].values())
        summary = evaluation_summary(metrics, confusion_matrix(truths, confidences), labels, training_images, arn)
        (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
        class_ids = {label: index for index, label in enumerate(manifest.labels)}
        lines = [json.dumps(snapshot_line(p, class_ids), ensure_ascii=False) for p in predictions]
        (folder / SNAPSHOT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Evaluation(metrics=metrics)

    record, path = home.store.reuse_or_make(key, Evaluation, make)
    verdict = judge(record.metrics, gate.min_macro_f1, gate.min_label_recall)
    record = record.model_copy(update={"entry_path": str(path), "gate": verdict})
    _tell(record)
    return record


def _tell(record: Evaluation) -> None:
    metrics, verdict = record.metrics, record.gate
    rows = [{"label": label, **figures.model_dump()} for label, figures in metrics.per_label.items()]
    engine.publish_table(
        "metrics", rows, f"Test images: accuracy {metrics.accuracy:.3f}, macro-F1 {metrics.macro_f1:.3f}"
    )
    log = engine.logger()
    log.info("test images: accuracy %.3f, macro-F1 %.3f", metrics.accuracy, metrics.macro_f1)
    for reason in verdict.reasons:
        log.warning("gate: %s", reason)
