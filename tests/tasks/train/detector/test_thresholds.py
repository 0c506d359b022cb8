import pytest

from tasks.metrics.detection import box_threshold
from tasks.train.detector.thresholds import DEFAULT_THRESHOLD, MIN_VALIDATION_BOXES, Judged, choose_thresholds
from tasks.vision.boxes import BoundingBox
from tests.tasks.train.detector.painted import found_box

PLACE = (10, 10, 20, 20)


def judged(name, scores, wrong=0.0):
    """Images with one true box each; `scores` maps a label to the confidences of the boxes that hit it."""
    truths, detections = [], []
    for label, values in scores.items():
        for value in values:
            truths.append([BoundingBox(label, *PLACE)])
            found = [found_box(*PLACE, value, label)] if value else []
            detections.append([*found, *([found_box(60, 60, 9, 9, wrong, label)] if wrong else [])])
    return Judged(name, truths, detections)


ENOUGH = MIN_VALIDATION_BOXES
FEW = MIN_VALIDATION_BOXES - 1


def test_first_source_with_enough_boxes_decides():
    validation = judged("validation", {"a": [0.9] * ENOUGH, "b": [0.9] * FEW}, wrong=0.7)
    folds = judged("cross-validation", {"a": [0.4] * ENOUGH, "b": [0.4] * ENOUGH}, wrong=0.2)
    training = judged("training images", {"a": [0.99] * 50, "b": [0.99] * 50})
    thresholds, sources = choose_thresholds(["a", "b"], [validation, folds, training])
    assert thresholds == pytest.approx({"a": 0.8, "b": 0.3})
    assert sources == {"a": "validation", "b": "cross-validation"}
    assert thresholds["a"] == box_threshold(validation.truths, validation.detections, "a")


def test_labels_with_few_boxes_share_a_threshold():
    validation = judged("validation", {"a": [0.9] * FEW, "b": [0.6] * FEW}, wrong=0.2)
    thresholds, sources = choose_thresholds(["a", "b"], [validation])
    assert thresholds == pytest.approx({"a": 0.4, "b": 0.4})
    assert set(sources.values()) == {"validation, all labels together"}


def test_labels_of_another_name_are_no_hits():
    """A box of another label on a true box counts as found when all labels are judged as one."""
    mixed = Judged("validation", [[BoundingBox("a", *PLACE)]], [[found_box(*PLACE, 0.8, "b")]])
    thresholds, _ = choose_thresholds(["a", "b"], [mixed])
    assert thresholds == pytest.approx({"a": 0.4, "b": 0.4})


def test_source_without_boxes_is_passed_over():
    empty = Judged("validation", [[], []], [[found_box(*PLACE, 0.9, "a")], []])
    training = judged("training images", {"a": [0.6] * 2})
    thresholds, sources = choose_thresholds(["a"], [empty, training])
    assert thresholds == pytest.approx({"a": 0.3})
    assert sources == {"a": "training images, all labels together"}


@pytest.mark.parametrize("sources", [[], [Judged("validation", [[]], [[]])]], ids=["none", "without boxes"])
def test_nothing_to_choose_on(sources):
    assert choose_thresholds(["a"], sources) == ({"a": DEFAULT_THRESHOLD}, {"a": "nothing"})


def test_boxes_that_were_all_missed():
    thresholds, _ = choose_thresholds(["a"], [judged("validation", {"a": [0.0] * ENOUGH}, wrong=0.9)])
    assert thresholds == {"a": DEFAULT_THRESHOLD}
