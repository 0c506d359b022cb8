"""The evaluation of a detector: figures, drawings and service-shaped files from the boxes it found."""

from tasks.evaluate.answers import Answers, Measured
from tasks.evaluate.detection_files import box_snapshot_line, detection_summary
from tasks.metrics.detection import CrossValidatedDetection, DetectionMetrics, measure_detections


def evaluate_detector(answers: Answers) -> Measured[DetectionMetrics]:
    """Measure and draw a detector's answers, and write them as the service does."""
    # matplotlib takes a second to load; a run that finds its figures does without.
    from tasks.evaluate.detection_figures import draw_detection_figures

    labels, predictions = answers.labels, answers.predictions
    truths = [prediction.true_boxes or () for prediction in predictions]
    detections = [prediction.boxes or () for prediction in predictions]
    estimate = answers.cross_validated if isinstance(answers.cross_validated, CrossValidatedDetection) else None
    metrics = measure_detections(truths, detections, labels, answers.thresholds, estimate)
    sized = list(zip(predictions, answers.sizes, strict=True))
    return Measured(
        metrics=metrics,
        drawings=draw_detection_figures(truths, detections, answers.sizes, labels, metrics),
        summary=detection_summary(metrics, predictions, labels, answers.training_images, answers.version_arn),
        snapshot=[box_snapshot_line(prediction, answers.class_ids, size) for prediction, size in sized],
    )


def detector_headline(metrics: DetectionMetrics) -> str:
    """Return the figures that a log line tells."""
    return f"mAP50 {metrics.map_50:.3f}, mAP {metrics.map:.3f}, macro-F1 {metrics.macro_f1:.3f}"
