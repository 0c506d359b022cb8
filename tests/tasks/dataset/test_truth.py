import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset.truth import Truth
from tasks.vision.boxes import BoundingBox


@settings(deadline=None)
@given(st.sets(st.text(min_size=1, max_size=8), max_size=6))
def test_sorted_labels_are_taken_and_name_the_stratum(labels: set[str]) -> None:
    ordered = tuple(sorted(labels))
    assert Truth(ordered).labels == ordered
    assert Truth(ordered).stratum == " + ".join(ordered)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(("b", "a"), id="unsorted"),
        pytest.param(("a", "a"), id="repeated"),
        pytest.param(("a", "b", "a"), id="unsorted and repeated"),
    ],
)
def test_other_labels_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="sorted and unique"):
        Truth(labels)


def test_one_label_is_its_own_stratum() -> None:
    assert Truth(("good",)).stratum == "good"


def test_boxes_need_their_label() -> None:
    box = BoundingBox("crack", 0, 0, 4, 4)
    assert Truth(("crack", "good"), (box, box)).boxes == (box, box)
    with pytest.raises(ValueError, match="crack"):
        Truth(("good",), (box,))
    with pytest.raises(ValueError, match="crack"):
        Truth((), (box,))
