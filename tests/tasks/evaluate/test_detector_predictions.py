from pathlib import Path

import pytest

from tasks.bundle.format import file_sha256
from tasks.bundle.predictor import Predictor
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.evaluate.predictions import predict_entries
from tasks.vision.boxes import BoundingBox
from tests.makers import paint_class_folders
from tests.tasks.bundle.made_detector import put_box, silent_outputs, write_detector

TRUE = BoundingBox("dent", 4, 4, 20, 20)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    """A detector that sees a sure dent and an unsure hole in every image."""
    outputs = silent_outputs()
    put_box(outputs, 5, 1, (1, 1, 1, 1), 0.9)
    put_box(outputs, 10, 2, (1, 1, 1, 1), 0.4)
    (tmp_path / "bundle").mkdir()
    return Predictor.open(write_detector(tmp_path / "bundle", outputs))


def test_boxes_stand_beside_the_labels(predictor: Predictor, tmp_path: Path) -> None:
    root = paint_class_folders(tmp_path / "images", ("dent",), 3)
    truths = (Truth(("dent",), (TRUE,)), Truth((), ()), Truth((), None))
    paths = sorted(root.rglob("*.png"))
    entries = [
        ImageEntry(path.relative_to(root).as_posix(), file_sha256(path), 48, 48, truth)
        for path, truth in zip(paths, truths, strict=True)
    ]
    found = predict_entries(predictor, root, entries, lambda *_: None)
    answers = predictor.predict_bytes([path.read_bytes() for path in paths])
    assert [one.true_boxes for one in found] == [(TRUE,), (), ()]
    for one, answer in zip(found, answers, strict=True):
        assert one.boxes == answer.boxes
        assert (one.confidences, one.given) == (answer.confidences, ("dent",))
        assert [box.label for box in one.boxes] == ["dent", "hole"]
        assert [box.label for box in one.given_boxes] == ["dent"]
