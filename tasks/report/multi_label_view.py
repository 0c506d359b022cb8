"""What the report on a classifier of any number of labels has of its own: which labels were missed or false."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.dataset.entries import SPLITS, Split
from tasks.metrics.classification import macro
from tasks.metrics.multi_label import MultiLabelMetrics
from tasks.report.classification_view import counts_by_label
from tasks.report.inputs import ReportInputs
from tasks.report.multi_label_advice import advise_on_labels
from tasks.report.multi_label_facts import AnsweredImage, MultiLabelFacts
from tasks.report.pictures import Place
from tasks.report.places import PlaceIndex
from tasks.report.training_charts import training_values
from tasks.report.view import Arranged, View
from tasks.report.why import why_values
from tasks.report.wording import MULTI_LABEL_FIGURES

TEMPLATE = "multi_label.html.j2"
MAX_TEST_CARDS, MAX_CROSS_VALIDATED_CARDS = 24, 12
MAX_BARS = 6
FOUND, MISSED, FALSE, ABSENT = "found", "missed", "false", ""


@dataclass(frozen=True, slots=True)
class LabelBar:
    """A label's confidence in an image, 0 to 1, and what became of it; empty where it is rightly not given."""

    label: str
    confidence: float
    outcome: str


@dataclass(frozen=True, slots=True)
class AnswerCard:
    """One image with its truth and answer; `bars` are labels true or given and the next best, the surest first."""

    answer: AnsweredImage
    place: Place | None
    bars: tuple[LabelBar, ...]


def arrange(inputs: ReportInputs[MultiLabelMetrics], index: PlaceIndex) -> Arranged:
    """Return the images answered wrongly, those with most mistakes first, and the numbers of images."""
    answers = MultiLabelFacts(inputs).answers
    wrong = [_card(index, one) for one in sorted(answers, key=_mistakes_first) if not one.is_right]
    tested = [card for card in wrong if card.answer.image.tested]
    crossed = [card for card in wrong if not card.answer.image.tested]
    shown = [*tested[:MAX_TEST_CARDS], *crossed[:MAX_CROSS_VALIDATED_CARDS]]
    without = {split: sum(not entry.truth.labels for entry in inputs.entries.get(split, ())) for split in SPLITS}
    return Arranged(
        {
            "macro": macro,
            "average_precision": inputs.metrics.average_precision,
            "tested": (tested[:MAX_TEST_CARDS], tested[MAX_TEST_CARDS:]),
            "crossed": (crossed[:MAX_CROSS_VALIDATED_CARDS], crossed[MAX_CROSS_VALIDATED_CARDS:]),
            "counts": counts_by_label(inputs),
            "without_labels": without,
            **training_values(inputs),
            **why_values(inputs, index),
        },
        [card.place for card in shown if card.place],
    )


def headline(inputs: ReportInputs[MultiLabelMetrics]) -> list[str]:
    """Return the run's figures, a line each."""
    metrics, estimate = inputs.metrics, inputs.metrics.cross_validated
    lines = [
        f"macro-F1 {metrics.macro_f1:.3f}, micro-F1 {metrics.micro_f1:.3f}, all labels right in "
        f"{metrics.exact_match:.3f} of {len(inputs.predictions)} test images"
    ]
    if estimate:
        lines.append(f"cross-validated macro-F1 {estimate.macro_f1:.3f} ± {estimate.macro_f1_std:.3f}")
    return lines


def _mistakes_first(one: AnsweredImage) -> tuple[int, str]:
    return -len(one.missed) - len(one.false), one.image.source_ref


def _card(index: PlaceIndex, one: AnsweredImage) -> AnswerCard:
    ranked = sorted(one.image.confidences.items(), key=lambda item: -item[1])
    bars = [LabelBar(label, confidence, _outcome(one, label)) for label, confidence in ranked]
    further = [bar for bar in bars if not bar.outcome][: max(0, MAX_BARS - sum(bool(bar.outcome) for bar in bars))]
    splits: tuple[Split, ...] = ("test",) if one.image.tested else ("train", "validation")
    shown = tuple(bar for bar in bars if bar.outcome or bar in further)
    return AnswerCard(one, index.in_splits(one.image.source_ref, *splits), shown)


def _outcome(one: AnsweredImage, label: str) -> str:
    outcomes: Sequence[tuple[Sequence[str], str]] = ((one.missed, MISSED), (one.false, FALSE), (one.given, FOUND))
    return next((name for labels, name in outcomes if label in labels), ABSENT)


VIEW = View(
    template=TEMPLATE,
    figures=MULTI_LABEL_FIGURES,
    draws_boxes=False,
    advise=advise_on_labels,
    arrange=arrange,
    headline=headline,
    pictures=lambda _: (),
)
