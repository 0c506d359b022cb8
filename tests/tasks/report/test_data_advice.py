"""The data report's advice and verdict follow from the numbers."""

import pytest

from tasks.report.data_advice import advise_on_data, judge_data
from tasks.report.data_facts import DataFacts
from tasks.report.data_render import render_data_report
from tests.tasks.report.page_reader import Page
from tests.tasks.report.stated_data import box, finding, inputs_of, stated


def many(prefix, count, label, **changes):
    return [stated(f"{prefix}{i}", boxes=(box(label, width=40, height=40),), **changes) for i in range(count)]


@pytest.mark.parametrize(
    ("given_inputs", "title", "verdict"),
    [
        pytest.param({"train": many("a", 9, "x"), "test": many("b", 30, "y")}, "One label has fewer", "look", id="few"),
        pytest.param({"train": many("a", 10, "x") + many("b", 201, "y")}, "unequal", "look", id="imbalance"),
        pytest.param({"train": many("a", 10, "x") + many("b", 200, "y")}, "", "ready", id="at the limit"),
        pytest.param(
            {"train": many("a", 20, "x", size=(1700, 1700))}, "20 boxes of 20 would be hard", "look", id="tiny boxes"
        ),
        pytest.param({"train": many("a", 20, "x", size=(1600, 1600))}, "", "ready", id="just not tiny"),
        pytest.param(
            {"train": [*many("a", 20, "x"), stated("n")]}, "1 image without any label", "look", id="unlabelled"
        ),
        pytest.param(
            {"train": [*many("a", 20, "x"), stated("n", ["x"])]}, "In 1 image nobody looked", "look", id="no boxes"
        ),
        pytest.param(
            {"train": many("a", 20, "x"), "test": many("b", 20, "x") + many("c", 20, "y")},
            "1 label without images to learn from",
            "look",
            id="test only",
        ),
        pytest.param(
            {"train": many("a", 20, "x") + many("c", 20, "y"), "test": many("b", 20, "x")},
            "1 label without images to test on",
            "look",
            id="train only",
        ),
        pytest.param(
            {"train": many("a", 20, "x"), "largest_groups": [["a1", "a2"], ["a3"]]}, "so alike", "ready", id="groups"
        ),
        pytest.param({"train": many("a", 20, "x")}, "Every image has boxes", "ready", id="no negatives"),
        pytest.param({"train": []}, "no usable images", "unusable", id="nothing"),
        pytest.param({"test": many("a", 20, "x")}, "no images to learn from", "unusable", id="no train split"),
        pytest.param({"train": [stated("a", boxes=())]}, "No image has a box", "unusable", id="negatives only"),
        pytest.param(
            {"train": many("a", 20, "x"), "task": "classification"}, "Only one label", "unusable", id="one class"
        ),
        pytest.param(
            {"train": many("a", 20, "x"), "findings": [finding("ERROR_EMPTY_FILE")], "listed": 100, "invalid": 1},
            "1 file or line with errors",
            "ready",
            id="few errors",
        ),
        pytest.param(
            {"train": many("a", 20, "x"), "findings": [finding("ERROR_EMPTY_FILE")], "listed": 22, "invalid": 3},
            "1 file or line with errors",
            "look",
            id="many errors",
        ),
    ],
)
def test_advice_and_verdict(tmp_path, given_inputs, title, verdict):
    facts = DataFacts(inputs_of(tmp_path, **given_inputs))
    advice = advise_on_data(facts)
    assert title in " / ".join(one.title for one in advice)
    assert judge_data(facts, advice) == verdict
    severities = [("high", "medium", "low").index(one.severity) for one in advice]
    assert severities == sorted(severities)


@pytest.mark.parametrize(
    ("train", "test", "titles"),
    [
        (["x", "y"], ["x"], ["1 label without images to test on"]),
        (["x"], ["x", "y"], ["1 label without images to learn from"]),
        (["x", "y"], ["x", "y"], []),
        (["x", "y"], [], []),
    ],
)
def test_labels_of_one_split(tmp_path, train, test, titles):
    split = [[stated(f"{label}{i}", [label]) for label in labels for i in range(20)] for labels in (train, test)]
    facts = DataFacts(inputs_of(tmp_path, *split, task="classification"))
    assert [one.title for one in advise_on_data(facts) if "split" in one.text] == titles


@pytest.mark.parametrize(("tested", "told"), [(9, True), (10, False)])
def test_few_images_to_test_on_are_told(tmp_path, tested, told):
    train, test = ([stated(f"{part}{i}", ["x"]) for i in range(n)] for part, n in (("a", 30), ("b", tested)))
    facts = DataFacts(inputs_of(tmp_path, train, test, task="classification"))
    titles = [one.title for one in advise_on_data(facts)]
    assert ("1 label with fewer than 10 images to test on" in titles) == told


@pytest.mark.parametrize(
    ("learned", "tested", "titles", "verdict"),
    [
        pytest.param(10, 10, [], "ready", id="sound"),
        pytest.param(9, 10, ["Only 9 normal images to learn from"], "look", id="few normal images"),
        pytest.param(10, 0, [], "ready", id="no anomaly yet"),
        pytest.param(0, 10, ["Only 0 normal images to learn from"], "unusable", id="nothing normal"),
    ],
)
def test_anomalies_are_not_learned_from(tmp_path, learned, tested, titles, verdict):
    normal = [stated(f"good/{number}.png", boxes=()) for number in range(learned)]
    abnormal = [stated(f"bent/{number}.png", ("anomaly",)) for number in range(tested)]
    facts = DataFacts(inputs_of(tmp_path, normal, abnormal, labels=["anomaly"], task="anomaly"))
    advice = advise_on_data(facts)
    assert [one.title for one in advice] == titles
    assert judge_data(facts, advice) == verdict


def test_sound_data_gives_no_advice(tmp_path):
    entries = [*many("a", 20, "x"), *many("b", 20, "y"), *(stated(f"n{i}", boxes=()) for i in range(5))]
    facts = DataFacts(inputs_of(tmp_path, entries[::2], entries[1::2]))
    assert advise_on_data(facts) == []
    assert "The numbers give no cause for advice." in Page(render_data_report(facts.inputs)).text
