from tasks.metrics.detection import BoxLabelMetrics, CrossValidatedDetection, DetectionMetrics
from tasks.register.publish import flat_metrics
from tests.tasks.conftest import Made

LABEL = BoxLabelMetrics(
    precision=0.5, recall=0.25, f1=1 / 3, threshold=0.4, support=8, average_precision=0.2, average_precision_50=0.3
)
DETECTION = DetectionMetrics(
    map=0.2,
    map_50=0.3,
    map_75=0.1,
    mar_100=0.4,
    map_by_size={"small": None, "medium": 0.2, "large": 0.0},
    macro_precision=0.5,
    macro_recall=0.25,
    macro_f1=1 / 3,
    per_label={"cut": LABEL, "a/b": LABEL},
)
ESTIMATE = CrossValidatedDetection(
    map=0.21, map_50=0.31, map_50_std=0.05, macro_f1=0.4, folds=3, images=40, per_label={"cut": LABEL}
)


def test_detectors_figures_are_flat_floats() -> None:
    flat = flat_metrics(DETECTION)
    assert {name: value for name, value in flat.items() if name.startswith("test.")} == {
        "test.map": 0.2,
        "test.map_50": 0.3,
        "test.map_75": 0.1,
        "test.mar_100": 0.4,
        "test.macro_precision": 0.5,
        "test.macro_recall": 0.25,
        "test.macro_f1": 1 / 3,
        "test.map_medium": 0.2,
        "test.map_large": 0.0,
    }
    assert {name: value for name, value in flat.items() if name.startswith("label.cut.")} == {
        "label.cut.precision": 0.5,
        "label.cut.recall": 0.25,
        "label.cut.f1": 1 / 3,
        "label.cut.threshold": 0.4,
        "label.cut.average_precision": 0.2,
        "label.cut.average_precision_50": 0.3,
    }
    assert len(flat) == 9 + 2 * 6


def test_detectors_estimate_is_told_beside_the_test_figures() -> None:
    flat = flat_metrics(DETECTION.model_copy(update={"cross_validated": ESTIMATE}))
    assert {name: value for name, value in flat.items() if name.startswith("cross_validated.")} == {
        "cross_validated.map": 0.21,
        "cross_validated.map_50": 0.31,
        "cross_validated.map_50_std": 0.05,
        "cross_validated.macro_f1": 0.4,
    }


def test_classifiers_figures_are_flat_floats(trained: Made) -> None:
    metrics = trained.evaluation.metrics
    flat = flat_metrics(metrics)
    assert flat["test.accuracy"] == metrics.accuracy
    assert flat["cross_validated.macro_f1"] == metrics.cross_validated.macro_f1
    assert all(flat[f"label.{label}.f1"] == figures.f1 for label, figures in metrics.per_label.items())
    assert all(isinstance(value, float) for value in flat.values())
