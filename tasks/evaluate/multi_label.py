"""The evaluation of a classifier of any number of labels: figures, drawings and service-shaped files."""

from tasks.evaluate.answers import Answers, Measured
from tasks.evaluate.classification_files import snapshot_line
from tasks.evaluate.predictions import confidence_matrix
from tasks.evaluate.service_files import summary_file
from tasks.metrics.classification import truths_of
from tasks.metrics.multi_label import CrossValidatedMultiLabel, MultiLabelMetrics, measure_multi_label


def evaluate_multi_label(answers: Answers) -> Measured[MultiLabelMetrics]:
    """Measure and draw the answers, and write them as the service does, without a confusion matrix."""
    # matplotlib and scikit-learn take seconds to load; a run that finds its figures does without.
    from tasks.evaluate.multi_label_figures import draw_multi_label_figures

    labels, predictions = answers.labels, answers.predictions
    truths = truths_of([prediction.truth for prediction in predictions], labels)
    confidences = confidence_matrix(predictions, labels)
    estimate = answers.cross_validated if isinstance(answers.cross_validated, CrossValidatedMultiLabel) else None
    metrics = measure_multi_label(truths, confidences, labels, answers.thresholds, estimate)
    images = {label: figures.support for label, figures in metrics.per_label.items()}
    return Measured(
        metrics=metrics,
        drawings=draw_multi_label_figures(truths, confidences, labels, metrics),
        summary=summary_file(
            metrics, {}, images, labels, answers.training_images, len(predictions), answers.version_arn
        ),
        snapshot=[snapshot_line(prediction, answers.class_ids) for prediction in predictions],
    )


def multi_label_headline(metrics: MultiLabelMetrics) -> str:
    """Return the figures that a log line tells."""
    precision = metrics.mean_average_precision
    told = "" if precision is None else f", mAP {precision:.3f}"
    return f"macro-F1 {metrics.macro_f1:.3f}, micro-F1 {metrics.micro_f1:.3f}{told}, exact {metrics.exact_match:.3f}"
