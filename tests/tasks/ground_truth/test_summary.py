import json
from collections import Counter

import pytest

from tasks.ground_truth.draft import LabelSet
from tasks.ground_truth.lines import parse_line
from tasks.ground_truth.statistics import ManifestStatistics, tally
from tasks.ground_truth.summary import images_by_label, manifest_summary
from tests.tasks.ground_truth.manifest_lines import boxes, line, parse, single

BLANK = ""


def count(values, mode="aws", name="train.manifest"):
    statistics = ManifestStatistics(name, 1000)
    for value in values:
        tally(statistics, parse_text(value, mode))
    return statistics


def parse_text(value, mode):
    return parse_line(b"", mode) if value == BLANK else parse(value, mode)


def labelled(label, number, bucket="b"):
    return line(single(label=label), ref=f"s3://{bucket}/{label}-{number}.jpg")


def boxed(label, number, bucket="b"):
    return line(boxes((0, 1, 1, 20, 20), classes={"0": label}), ref=f"s3://{bucket}/{label}-{number}.jpg")


def many(make, **counts):
    return [make(label, number) for label, total in counts.items() for number in range(total)]


def codes(summary, place="training"):
    return [error["code"] for error in (summary["errors"] if place == "" else summary["statistics"][place]["errors"])]


GOOD = many(labelled, dog=10, cat=10)


def test_summary_has_the_services_shape():
    testing = count([labelled("dog", 0), labelled("cat", 0), BLANK, line(ref="s3://b/none.jpg")])
    summary = manifest_summary(count(GOOD), testing, "aws")
    assert json.loads(json.dumps(summary)) == {
        "statistics": {
            "training": {
                "use_case": "IMAGE_LEVEL_LABELS",
                "total_json_lines": 20,
                "valid_json_lines": 20,
                "invalid_json_lines": 0,
                "ignored_json_lines": 0,
                "error_json_line_indices": [],
                "errors": [],
            },
            "testing": {
                "use_case": "IMAGE_LEVEL_LABELS",
                "total_json_lines": 4,
                "valid_json_lines": 2,
                "invalid_json_lines": 1,
                "ignored_json_lines": 1,
                "error_json_line_indices": [3],
                "errors": [
                    {
                        "code": "ERROR_TOO_MANY_INVALID_ROWS_IN_MANIFEST",
                        "message": "1 of 3 lines are invalid, more than 20%",
                    },
                    {
                        "code": "ERROR_TOO_MANY_RECORDS_IN_ERROR",
                        "message": "The manifest file has too many terminal errors.",
                    },
                ],
            },
        },
        "errors": [],
    }


def test_line_of_a_bad_box_has_an_error_and_is_valid():
    value = line(boxes((0, 1, 1, 20, 20), (0, -1, 1, 20, 20)))
    statistics = count([value])
    assert (statistics.valid_lines, statistics.invalid_lines, statistics.error_line_numbers) == (1, 0, [1])


@pytest.mark.parametrize("mode", ["aws", "open"])
@pytest.mark.parametrize(
    ("valid", "blank", "ignored", "fails"),
    [
        pytest.param(80, 20, 0, False, id="20 % exactly"),
        pytest.param(79, 20, 0, True, id="just above"),
        pytest.param(80, 20, 50, False, id="ignored lines do not help"),
        pytest.param(79, 20, 50, True, id="nor dilute"),
        pytest.param(0, 1, 0, True, id="nothing valid"),
        pytest.param(0, 0, 5, False, id="only ignored"),
    ],
)
def test_more_than_a_fifth_of_invalid_lines_fails(mode, valid, blank, ignored, fails):
    values = many(labelled, dog=valid) + [BLANK] * blank + [line(ref="s3://b/k.jpg")] * ignored
    summary = manifest_summary(count(values, mode), None, mode)
    assert ("ERROR_TOO_MANY_INVALID_ROWS_IN_MANIFEST" in codes(summary)) == fails


@pytest.mark.parametrize(
    ("statistics", "code", "modes"),
    [
        pytest.param(ManifestStatistics("a.manifest"), "ERROR_EMPTY_MANIFEST", ("aws", "open"), id="empty"),
        pytest.param(
            ManifestStatistics("a.manifest", 1_000_000_001, 1),
            "ERROR_MANIFEST_SIZE_TOO_LARGE",
            ("aws",),
            id="more than 1 GB",
        ),
        pytest.param(
            ManifestStatistics("a.manifest", 1, 250_001),
            "ERROR_MANIFEST_ROWS_EXCEEDS_MAXIMUM",
            ("aws",),
            id="more than 250,000 lines",
        ),
        pytest.param(
            ManifestStatistics("manifest", 1, 1),
            "ERROR_MANIFEST_INACCESSIBLE_OR_UNSUPPORTED_FORMAT",
            ("aws",),
            id="no extension",
        ),
        pytest.param(
            ManifestStatistics("a.manifest", 1, 2, buckets={"b", "c"}),
            "ERROR_IMAGES_IN_MULTIPLE_S3_BUCKETS",
            ("aws",),
            id="two buckets",
        ),
        pytest.param(
            ManifestStatistics("a.manifest", 1, 1, ignored_lines=1),
            "ERROR_MANIFEST_TOO_FEW_LABELS",
            ("aws", "open"),
            id="no label",
        ),
        pytest.param(
            ManifestStatistics("a.manifest", 1, 1, label_sets=Counter({LabelSet(("dog",), None): 1})),
            "ERROR_MANIFEST_TOO_FEW_LABELS",
            ("aws",),
            id="one label for classification",
        ),
        pytest.param(
            ManifestStatistics("a.manifest", 1, 251, label_sets=Counter(LabelSet((str(n),), None) for n in range(251))),
            "ERROR_MANIFEST_TOO_MANY_LABELS",
            ("aws",),
            id="251 labels",
        ),
    ],
)  # fmt: skip
def test_manifest_errors(statistics, code, modes):
    for mode in ("aws", "open"):
        assert (code in codes(manifest_summary(statistics, None, mode))) == (mode in modes)


def test_limits_themselves_are_accepted():
    labels = Counter({LabelSet((str(number),), None): 1000 for number in range(250)})
    statistics = ManifestStatistics("a.manifest", 1_000_000_000, 250_000, label_sets=labels, buckets={"b"})
    assert codes(manifest_summary(statistics, None, "aws")) == []


def test_buckets_are_those_of_the_lines():
    values = [labelled("dog", 0), labelled("dog", 1, "other"), labelled("cat", 2)]
    assert count(values).buckets == ["b", "other"]


def test_one_label_is_enough_for_boxes():
    assert codes(manifest_summary(count(many(boxed, dog=2)), None, "aws")) == []


@pytest.mark.parametrize(
    ("values", "use_case"),
    [
        pytest.param([], "NOT_DETERMINED", id="nothing"),
        pytest.param([line(ref="s3://b/k.jpg")], "NOT_DETERMINED", id="nothing to learn"),
        pytest.param(many(labelled, dog=3) + many(boxed, dog=2), "IMAGE_LEVEL_LABELS", id="more labels"),
        pytest.param(many(labelled, dog=2) + many(boxed, dog=3), "OBJECT_LOCALIZATION", id="more boxes"),
        pytest.param(many(labelled, dog=2) + many(boxed, dog=2), "OBJECT_LOCALIZATION", id="as many"),
    ],
)
def test_use_case_is_that_of_most_lines(values, use_case):
    assert count(values).use_case == use_case


def test_service_drops_lines_of_the_other_use_case():
    values = [*many(labelled, dog=3, cat=3), *many(boxed, bone=2), line(single(label="dog"), boxes((0, 1, 1, 9, 9)))]
    statistics = count(values)
    assert images_by_label(statistics, "aws") == {"dog": 4, "cat": 3}
    assert images_by_label(statistics, "open") == {"dog": 4, "cat": 3, "bone": 2}
    strict = manifest_summary(statistics, None, "aws")["statistics"]["training"]
    assert (strict["valid_json_lines"], strict["ignored_json_lines"]) == (7, 2)
    lenient = manifest_summary(statistics, None, "open")["statistics"]["training"]
    assert (lenient["valid_json_lines"], lenient["ignored_json_lines"]) == (9, 0)


def test_labels_on_dropped_lines_are_not_usable():
    statistics = count(many(labelled, dog=5) + many(boxed, bone=2))
    assert codes(manifest_summary(statistics, None, "aws")) == ["ERROR_MANIFEST_TOO_FEW_USABLE_LABELS"]


@pytest.mark.parametrize("mode", ["aws", "open"])
@pytest.mark.parametrize(
    ("tested", "code"),
    [
        pytest.param(many(labelled, dog=1, cat=1, cow=5, pig=5, emu=5), [], id="half"),
        pytest.param(many(labelled, dog=1, cow=5, pig=5), ["ERROR_INSUFFICIENT_LABEL_OVERLAP"], id="a quarter"),
        pytest.param(many(labelled, cow=1), ["ERROR_INSUFFICIENT_LABEL_OVERLAP"], id="none"),
    ],
)
def test_half_of_the_trained_labels_must_be_tested(mode, tested, code):
    trained = count(many(labelled, dog=2, cat=2, hen=2, owl=2))
    summary = manifest_summary(trained, count(tested), mode)
    assert codes(summary, "") == code


def test_usable_labels_must_overlap_too():
    trained = count(many(labelled, dog=2, cat=2))
    tested = count(many(labelled, cow=3, pig=3) + many(boxed, dog=1, cat=1))
    summary = manifest_summary(trained, tested, "aws")
    assert codes(summary, "") == ["ERROR_INSUFFICIENT_USABLE_LABEL_OVERLAP"]
    assert "usable" in summary["errors"][0]["message"]
    assert codes(manifest_summary(trained, tested, "open"), "") == []


def test_label_of_one_image_cannot_be_split():
    statistics = count(many(labelled, dog=5, cat=1))
    assert codes(manifest_summary(statistics, None, "aws")) == ["ERROR_INSUFFICIENT_IMAGES_PER_LABEL_FOR_AUTOSPLIT"]
    assert codes(manifest_summary(statistics, statistics, "aws")) == []
    assert codes(manifest_summary(statistics, None, "open")) == []


def test_warning_is_no_error_of_the_summary():
    assert codes(manifest_summary(count([*GOOD, BLANK]), None, "aws")) == []
