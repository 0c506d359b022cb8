import pytest

from tasks.compare.ranking import rank, standard_error
from tasks.compare.table import as_text, rows_of
from tasks.errors import DataError, RequestError
from tests.tasks.compare.measured import standing

BEST = standing("finetune", 0.80, 0.85, 0.90, ms=40.0)
"""Its standard error is 0.029."""


def test_the_standard_error_is_that_of_the_mean():
    assert standard_error(BEST) == pytest.approx(0.05 / 3**0.5)


@pytest.mark.parametrize(
    ("others", "recommended"),
    [
        pytest.param([standing("svm", 0.80, 0.83, 0.86, ms=9.0)], "svm", id="as good for all one can tell, and faster"),
        pytest.param([standing("svm", 0.79, 0.82, 0.85, ms=9.0)], "finetune", id="beyond one standard error"),
        pytest.param([standing("cnn", 0.80, 0.84, 0.86, ms=60.0)], "finetune", id="as good, slower"),
        pytest.param([standing("cnn", 0.80, 0.84, 0.86, ms=41.0)], "cnn", id="as good, as fast, simpler"),
        pytest.param(
            [standing("svm", 0.80, 0.84, 0.86, ms=9.0), standing("logistic", 0.80, 0.83, 0.86, ms=9.5)],
            "logistic",
            id="simpler of two that are equally fast",
        ),
        pytest.param(
            [standing("svm", 0.80, 0.84, 0.86, ms=5.0), standing("logistic", 0.80, 0.83, 0.86, ms=9.5)],
            "svm",
            id="faster of two that are not",
        ),
        pytest.param([standing("svm", 0.95, 0.95, outcome="pruned", ms=5.0)], "finetune", id="only what was measured"),
    ],
)
def test_the_fastest_within_one_standard_error_is_recommended(others, recommended):
    ranking = rank([*others, BEST], "10m")
    assert (ranking.most_accurate, ranking.recommended) == ("finetune", recommended)
    assert any(f"Recommended: {recommended}" in sentence for sentence in ranking.advice)


def test_the_simpler_is_the_most_accurate_of_equals():
    ranking = rank([standing("finetune", 0.9, 0.9, 0.9), standing("plain", 0.9, 0.9, 0.9, ms=30.0)], "10m")
    assert [one.candidate for one in ranking.standings] == ["plain", "finetune"]
    assert (ranking.most_accurate, ranking.recommended) == ("plain", "finetune")


def test_those_stopped_come_last_with_their_reasons():
    ranking = rank(
        [
            standing("cnn", outcome="failed", reason="weights that do not fit"),
            standing("svm", 0.5, 0.6, outcome="out of time", reason="a fold takes 9 s"),
            standing("plain", 0.4, 0.5, 0.6, bundle_bytes=2_000_000),
            BEST,
        ],
        "10m",
    )
    assert [one.candidate for one in ranking.standings] == ["finetune", "plain", "svm", "cnn"]
    assert ranking.advice[-1] == "Smallest: plain, 2.0 MB instead of 14.0 MB, with macro-F1 0.500."
    header, *lines = as_text(ranking).splitlines()
    assert header.split() == ["candidate", "macro-F1", "accuracy", "training", "per", "image", "size"]
    assert lines[0].endswith(
        "0.850 +/- 0.050  0.850 +/- 0.050     1.0 s    40.0 ms  14.0 MB  most accurate, recommended"
    )
    assert lines[2].endswith("out of time after 2 of 3 folds: a fold takes 9 s")
    assert lines[3].endswith("failed: weights that do not fit")
    assert [row["note"] for row in rows_of(ranking)][-1] == "failed: weights that do not fit"


def test_a_budget_too_small_for_one_candidate_is_one_sentence():
    standings = [
        standing("plain", 0.5, outcome="out of time", reason="a fold takes 9 s"),
        standing("svm", outcome="failed", reason="broken"),
    ]
    with pytest.raises(RequestError, match=r"the budget of 5s is too small for one candidate \(plain was out of time"):
        rank(standings, "5s")


def test_all_failing_is_the_data_saying_no():
    with pytest.raises(DataError, match="no candidate could be measured: plain: too few; svm: too few"):
        rank([standing(name, outcome="failed", reason="too few") for name in ("plain", "svm")], "5s")
