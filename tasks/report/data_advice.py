"""Advice on data, drawn from the numbers: what to look at before training, and the verdict on the whole."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

from tasks.dataset.entries import SPLITS
from tasks.report.data_facts import INPUT_PIXELS, TINY_BOX_PIXELS, DataFacts
from tasks.report.data_wording import counted
from tasks.report.facts import Advice, Severity, enumerated, quoted
from tasks.report.inputs import Task
from tasks.report.pictures import Place

Verdict = Literal["ready", "look", "unusable"]

FEW_IMAGES = 10
FEW_TEST_IMAGES = 10
"""With fewer, a label's figures are judged on the cross-validated estimate."""
LARGE_IMBALANCE = 20
MIN_TINY_BOXES, MIN_TINY_SHARE = 3, 0.01
"""Fewer tiny boxes than both say nothing of the whole."""
HIGH_ERROR_SHARE = 0.1
FEWEST_LABELS: Mapping[Task, int] = {"classification": 2, "detection": 1, "anomaly": 0}
"""That a model of the task can be made of."""


def advise_on_data(facts: DataFacts) -> list[Advice]:
    """Return all advice, most important first."""
    rules = _ANOMALY_RULES if facts.inputs.task == "anomaly" else _RULES
    found = [advice for rule in rules for advice in rule(facts)]
    return sorted(found, key=lambda advice: get_args(Severity).index(advice.severity))


def judge_data(facts: DataFacts, advice: Sequence[Advice]) -> Verdict:
    """Tell whether the data can be used as it is, after a look, or not at all."""
    fewest = FEWEST_LABELS[facts.inputs.task]
    known = sum(count > 0 for count in facts.images_by_label.values())
    if known < fewest or not facts.images_by_split["train"]:
        return "unusable"
    return "look" if any(one.severity != "low" for one in advice) else "ready"


def _too_few_labels(facts: DataFacts) -> Iterator[Advice]:
    known = sum(count > 0 for count in facts.images_by_label.values())
    if not facts.places:
        yield Advice("high", "There are no usable images", "The findings below name every image that was left out.")
    elif not facts.images_by_split["train"]:
        yield Advice("high", "There are no images to learn from", "The train split is empty: change the split.")
    elif facts.inputs.task == "classification" and known < 2:
        text = "A classifier needs two labels or more: add images that show something else."
        yield Advice("high", f"{'Only one label has' if known else 'No label has'} images", text)
    elif not known:
        yield Advice("high", "No image has a box", "A detector needs boxes of one label at least.")


def _few_to_learn_from(facts: DataFacts) -> Iterator[Advice]:
    count = facts.images_by_split["train"]
    if count < FEW_IMAGES:
        yield Advice(
            "high",
            f"Only {counted(count, 'normal image')} to learn from",
            "What is normal is learned from them alone. Collect more, from different parts, days and lots; if there "
            "are more, name their label with data.normal_label.",
        )


def _few_images(facts: DataFacts) -> Iterator[Advice]:
    few = {label: count for label, count in facts.images_by_label.items() if count < FEW_IMAGES}
    if few:
        each = enumerated(f"{quoted(one)} {few[one]}" for one in sorted(few, key=lambda one: (few[one], one)))
        subject = "One label has" if len(few) == 1 else f"{len(few)} labels have"
        yield Advice(
            "high",
            f"{subject} fewer than {FEW_IMAGES} images",
            f"Number of images: {each}. Little can be learned from so few, and less be measured. Collect more, from "
            "different parts, days and lots; or drop the label.",
        )


def _few_to_test(facts: DataFacts) -> Iterator[Advice]:
    tested = {label: facts.images["test", label] for label in facts.inputs.labels if facts.images["test", label]}
    few = [label for label, count in tested.items() if count < FEW_TEST_IMAGES]
    if few:
        yield Advice(
            "low",
            f"{counted(len(few), 'label')} with fewer than {FEW_TEST_IMAGES} images to test on",
            f"What is measured on so few says little of {enumerated(map(quoted, few))}; such labels are judged on a "
            "cross-validated estimate. Collect more for figures to rely on.",
        )


def _imbalance(facts: DataFacts) -> Iterator[Advice]:
    counts = {label: count for label, count in facts.images_by_label.items() if count}
    if not counts:
        return
    most = max(counts, key=lambda label: (counts[label], label))
    fewest = min(counts, key=lambda label: (counts[label], label))
    if counts[most] > LARGE_IMBALANCE * counts[fewest]:
        yield Advice(
            "medium",
            "The labels are very unequal in number",
            f"{quoted(most)} has {counted(counts[most], 'image')}, {quoted(fewest)} {counts[fewest]:,}: "
            f"{counts[most] / counts[fewest]:.0f} times fewer. Collect images of the rare labels first, and judge the "
            "model by macro-F1 and each label's recall, not by accuracy.",
        )


def _one_split_only(facts: DataFacts) -> Iterator[Advice]:
    filled = [split for split in SPLITS if facts.images_by_split[split]]
    if len(filled) < 2:
        return
    where = {label: [s for s in filled if facts.images[s, label]] for label in facts.inputs.labels}
    untaught = [label for label, splits in where.items() if splits and "train" not in splits]
    untested = [label for label, splits in where.items() if splits and "test" not in splits]
    if untaught:
        yield Advice(
            "high",
            f"{counted(len(untaught), 'label')} without images to learn from",
            f"No image of the train split carries {enumerated(map(quoted, untaught))}: no model will ever answer so. "
            "Add such images, or change the split.",
        )
    if untested:
        yield Advice(
            "medium",
            f"{counted(len(untested), 'label')} without images to test on",
            f"No image of the test split carries {enumerated(map(quoted, untested))}: how well this is recognised "
            "cannot be measured. Add such images to the test split.",
        )


def _tiny_boxes(facts: DataFacts) -> Iterator[Advice]:
    table = facts.box_table
    tiny = int(table.is_tiny.sum())
    if tiny >= max(MIN_TINY_BOXES, MIN_TINY_SHARE * len(table)):
        yield Advice(
            "medium",
            f"{counted(tiny, 'box')} of {len(table):,} would be hard to see",
            f"Their shorter side has fewer than {TINY_BOX_PIXELS} pixels once the image's longer side is scaled to "
            f"{INPUT_PIXELS}. Train with a larger input size, cut the images into tiles, or take them from nearer.",
            references(facts.tiny_box_places),
        )


def _unlabelled(facts: DataFacts) -> Iterator[Advice]:
    if facts.unlabelled:
        yield Advice(
            "medium",
            f"{counted(len(facts.unlabelled), 'image')} without any label",
            "What nothing is said of teaches nothing. Add a label, or state that nothing is to be seen there.",
            references(facts.unlabelled),
        )
    if facts.inputs.task == "detection" and facts.without_boxes:
        yield Advice(
            "medium",
            f"In {counted(len(facts.without_boxes), 'image')} nobody looked for boxes",
            "Only the whole image is labelled there. Draw the boxes, or state that there are none.",
            references(facts.without_boxes),
        )


def _alike(facts: DataFacts) -> Iterator[Advice]:
    groups = [group for group in facts.inputs.largest_groups if len(group) > 1]
    if groups:
        yield Advice(
            "low",
            "Some images are so alike that they are kept together",
            f"The largest group has {counted(len(groups[0]), 'image')}. A group never parts between splits, so the "
            "figures stay honest; but its images count for little more than one. Look at the largest groups below: "
            "where different parts were taken for one, name what belongs together with data.group_by.",
        )


def _no_negatives(facts: DataFacts) -> Iterator[Advice]:
    if facts.inputs.task == "detection" and len(facts.box_table) and not facts.true_negatives:
        yield Advice(
            "low",
            "Every image has boxes",
            "A detector learns what is no defect from images without any: add some, and state that they have none.",
        )


def _unusable_files(facts: DataFacts) -> Iterator[Advice]:
    refs = tuple(sorted({one.source_ref for one in facts.inputs.findings if one.severity == "error"}))
    if refs:
        share = facts.inputs.invalid / max(1, facts.inputs.listed)
        yield Advice(
            "medium" if share > HIGH_ERROR_SHARE else "low",
            f"{len(refs):,} {'file or line' if len(refs) == 1 else 'files or lines'} with errors",
            f"Of {counted(facts.inputs.listed, 'listed image')}, {facts.inputs.invalid:,} were left out as errors; the "
            "findings below say what is wrong with each. Repair or remove them.",
            refs,
        )


_RULES: Sequence[Callable[[DataFacts], Iterable[Advice]]] = (
    _too_few_labels,
    _one_split_only,
    _few_images,
    _few_to_test,
    _unlabelled,
    _imbalance,
    _tiny_boxes,
    _unusable_files,
    _no_negatives,
    _alike,
)


_ANOMALY_RULES: Sequence[Callable[[DataFacts], Iterable[Advice]]] = (
    _few_to_learn_from,
    _few_to_test,
    _unlabelled,
    _unusable_files,
    _alike,
)


def references(places: Iterable[Place]) -> tuple[str, ...]:
    """Return the references of images."""
    return tuple(place.entry.source_ref for place in places)
