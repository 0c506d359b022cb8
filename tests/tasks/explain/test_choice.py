"""Which answers are explained, and which label of an answer."""

import pytest

from tasks.evaluate.records import ImagePrediction
from tasks.explain.choice import MAX_WRONG, choose_answers, label_to_explain


def answered(ref, truth, any_number=False, **confidences):
    ranked = dict(sorted(confidences.items(), key=lambda item: -item[1]))
    return ImagePrediction(
        source_ref=ref,
        sha256="",
        truth=tuple(truth),
        confidences=ranked,
        given=tuple(label for label, value in ranked.items() if value >= 0.5),
        labels_per_image="any" if any_number else None,
    )


def refs(answers):
    return [one.source_ref for one in answers]


def test_wrong_ones_come_first_and_then_each_label_in_turn():
    answers = [
        answered("a1", ["a"], a=0.9, b=0.1),
        answered("a2", ["a"], a=0.6, b=0.4),
        answered("a3", ["a"], a=0.7, b=0.3),
        answered("b1", ["b"], a=0.2, b=0.8),
        answered("wrong", ["b"], a=0.6, b=0.4),
        answered("very wrong", ["a"], a=0.1, b=0.9),
    ]
    assert refs(choose_answers(answers)) == ["very wrong", "wrong", "a2", "b1", "a3", "a1"]
    assert refs(choose_answers(answers[::-1], 4)) == ["very wrong", "wrong", "a2", "b1"]


def test_many_wrong_ones_leave_room_for_right_ones():
    wrong = [answered(f"w{number:02}", ["b"], a=0.6, b=0.4) for number in range(20)]
    right = [answered(f"r{number:02}", ["a"], a=0.6, b=0.4) for number in range(9)]
    chosen = choose_answers([*right, *wrong], 12)
    assert [one.is_correct for one in chosen] == [False] * MAX_WRONG + [True] * (12 - MAX_WRONG)
    assert len(choose_answers(wrong, 12)) == 12
    assert [one.is_correct for one in choose_answers([*right[:1], *wrong], 12)] == [False] * 11 + [True]
    assert choose_answers([], 12) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(answered("", ["a"], a=0.2, b=0.8), "b", id="one label: the surest"),
        pytest.param(answered("", ["a"], True, a=0.9, b=0.6, c=0.1), "b", id="a false one"),
        pytest.param(answered("", ["a", "b"], True, a=0.9, b=0.3, c=0.4), "b", id="a missed one"),
        pytest.param(answered("", ["c"], True, a=0.7, b=0.6, c=0.1), "a", id="the surest false one"),
        pytest.param(answered("", ["a"], True, a=0.9, b=0.1), "a", id="the surest given"),
        pytest.param(answered("", [], True, a=0.2, b=0.3), "b", id="none, and none given"),
    ],
)
def test_the_label_that_an_answer_stands_or_falls_with(answer, expected):
    assert label_to_explain(answer) == expected
