"""Which answers are explained, and of which of an answer's labels."""

from collections import defaultdict
from collections.abc import Sequence

from tasks.evaluate.records import ImagePrediction

MAX_IMAGES = 10
MAX_WRONG = 6
"""Of these; right answers tell whether what is looked at is the defect at all."""


def choose_answers(answers: Sequence[ImagePrediction], count: int = MAX_IMAGES) -> list[ImagePrediction]:
    """Return wrong answers, the surest first, then right ones, label by label in turn, the least sure first."""
    wrong = sorted((one for one in answers if not one.is_correct), key=_surest_first)
    right = _in_turn([one for one in answers if one.is_correct])
    most_wrong = max(min(MAX_WRONG, count), count - len(right))
    return [*wrong[:most_wrong], *right][:count]


def label_to_explain(answer: ImagePrediction) -> str:
    """Return the label that an answer stands or falls with.

    That is the label with the highest confidence; where an image may have any number of labels, the surest false one,
    else the surest missed one, else the surest.
    """
    ranked = sorted(answer.confidences, key=lambda label: -answer.confidences[label])
    if answer.labels_per_image != "any":
        return ranked[0]
    false = [label for label in ranked if label in answer.given and label not in answer.truth]
    missed = [label for label in ranked if label in answer.truth and label not in answer.given]
    return next(iter([*false, *missed, *ranked]))


def _surest_first(answer: ImagePrediction) -> tuple[float, str]:
    return -answer.confidences[label_to_explain(answer)], answer.source_ref


def _in_turn(answers: Sequence[ImagePrediction]) -> list[ImagePrediction]:
    by_label: dict[str, list[ImagePrediction]] = defaultdict(list)
    for one in sorted(answers, key=_surest_first, reverse=True):
        by_label[label_to_explain(one)].append(one)
    ranked = [(turn, label, one) for label, members in by_label.items() for turn, one in enumerate(members)]
    return [one for _, _, one in sorted(ranked, key=lambda item: item[:2])]
