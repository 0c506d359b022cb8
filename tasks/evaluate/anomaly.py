"""The evaluation of an anomaly model: figures of images and pixels, drawings and service-shaped files."""

import numpy as np

from tasks.evaluate.answers import Answers, Measured
from tasks.evaluate.classification_files import snapshot_line
from tasks.evaluate.masks import pixel_counts
from tasks.evaluate.service_files import summary_file
from tasks.metrics.anomaly import ANOMALY, AnomalyMetrics, measure_anomalies


def evaluate_anomaly_model(answers: Answers) -> Measured[AnomalyMetrics]:
    """Measure and draw an anomaly model's answers, and write them as the service does for a model of one label."""
    # matplotlib takes a second to load; a run that finds its figures does without.
    from tasks.evaluate.anomaly_figures import draw_anomaly_figures

    predictions = answers.predictions
    truth = np.array([bool(prediction.truth) for prediction in predictions], np.bool_)
    confidences = np.array([prediction.confidences[ANOMALY] for prediction in predictions])
    pixels = pixel_counts(answers.root, answers.entries, [prediction.heat_map for prediction in predictions])
    metrics = measure_anomalies(truth, confidences, answers.thresholds[ANOMALY], pixels)
    aggregate = {"ROCAUC": metrics.image_auroc}
    images = {label: figures.support for label, figures in metrics.per_label.items()}
    return Measured(
        metrics=metrics,
        drawings=draw_anomaly_figures(truth, confidences, metrics, pixels),
        summary=summary_file(
            metrics,
            aggregate,
            images,
            answers.labels,
            answers.training_images,
            len(predictions),
            answers.version_arn,
        ),
        snapshot=[snapshot_line(prediction, answers.class_ids) for prediction in predictions],
    )


def anomaly_headline(metrics: AnomalyMetrics) -> str:
    """Return the figures that a log line tells; those that the test images do not give are left out."""
    figures = (
        ("image AUROC", metrics.image_auroc),
        ("pixel AUROC", metrics.pixel_auroc),
        ("PRO", metrics.region_overlap),
        ("F1", metrics.macro_f1),
    )
    return ", ".join(f"{name} {value:.3f}" for name, value in figures if value is not None)
