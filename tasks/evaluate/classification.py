"""The evaluation of a classifier: figures, drawings and service-shaped files from its answers."""

from tasks.evaluate.answers import Answers, Measured
from tasks.evaluate.classification_files import evaluation_summary, snapshot_line
from tasks.evaluate.predictions import confidence_matrix
from tasks.metrics.classification import ClassificationMetrics, CrossValidated, confusion_matrix, measure, truths_of


def evaluate_classifier(answers: Answers) -> Measured[ClassificationMetrics]:
    """Measure and draw a classifier's answers, and write them as the service does."""
    # matplotlib and scikit-learn take seconds to load; a run that finds its figures does without.
    from tasks.evaluate.figures import draw_figures

    labels, predictions = answers.labels, answers.predictions
    truths = truths_of([prediction.truth for prediction in predictions], labels)
    confidences = confidence_matrix(predictions, labels)
    estimate = answers.cross_validated if isinstance(answers.cross_validated, CrossValidated) else None
    metrics = measure(truths, confidences, labels, answers.thresholds, estimate)
    confusion = confusion_matrix(truths, confidences)
    return Measured(
        metrics=metrics,
        drawings=draw_figures(truths, confidences, labels, metrics),
        summary=evaluation_summary(metrics, confusion, labels, answers.training_images, answers.version_arn),
        snapshot=[snapshot_line(prediction, answers.class_ids) for prediction in predictions],
    )


def classifier_headline(metrics: ClassificationMetrics) -> str:
    """Return the figures that a log line tells."""
    return f"accuracy {metrics.accuracy:.3f}, macro-F1 {metrics.macro_f1:.3f}"
