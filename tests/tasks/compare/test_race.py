import pytest

from tasks.compare.race import Race, Turn
from tasks.train.records import StoppedFold
from tests.tasks.compare.measured import measured_fold

FOLDS = 3


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(scores, *, seconds=1000.0, cost=None, folds=FOLDS, known=()):
    """Let candidates run whose folds give the scores, each taking its cost; returns turns and standings by name."""
    clock, turns = Clock(), []
    race = Race(list(scores), folds, seconds, clock)
    for turn in race.turns():
        turns.append(turn)
        taken = (cost or {}).get(turn.candidate, 1.0)
        score = scores[turn.candidate][turn.fold]
        if isinstance(score, str):
            race.failed(turn, score)
            continue
        is_known = turn in known
        clock.now += 0.0 if is_known else taken
        fold = measured_fold(score, taken, fold=turn.fold, folds=len(scores[turn.candidate]), reused=is_known)
        race.measured(turn, fold)
    return turns, {one.candidate: one for one in race.standings()}


def test_cheap_candidates_go_first_whatever_the_order_asked_for():
    scores = dict.fromkeys(("finetune:searched", "finetune", "auto", "svm:stages", "plain"), (0.5, 0.6, 0.7))
    turns, standings = run(scores)
    assert list(dict.fromkeys(turn.candidate for turn in turns)) == [
        *("plain", "svm:stages", "auto", "finetune", "finetune:searched")
    ]
    assert [turn.fold for turn in turns if turn.candidate == "plain"] == [0, 1, 2]
    first = standings["plain"]
    assert (first.outcome, first.note, first.macro_f1) == ("measured", "", (0.5, 0.6, 0.7))
    assert first.macro_f1_mean == pytest.approx(0.6)
    assert first.macro_f1_std == pytest.approx(0.1)
    assert (first.ms_per_image, first.bundle_bytes) == (5.0, 1_000_000)


def test_what_cannot_end_in_time_is_stopped_and_cheaper_ones_are_not():
    scores = dict.fromkeys(("plain", "svm", "cnn"), (0.5,) * FOLDS)
    turns, standings = run(scores, seconds=60.0, cost={"cnn": 25.0})
    assert standings["plain"].outcome == standings["svm"].outcome == "measured"
    assert standings["cnn"].note.startswith("out of time after 1 of 3 folds: a fold takes 25 s, and 29 s were left")
    assert turns[-1] == Turn("cnn", 0)


def test_what_just_fits_is_measured():
    _, standings = run({"cnn": (0.5,) * FOLDS}, seconds=76.0, cost={"cnn": 25.0})
    assert standings["cnn"].outcome == "measured"


def test_when_the_time_is_over_nobody_starts():
    turns, standings = run(dict.fromkeys(("plain", "svm"), (0.5,) * FOLDS), seconds=3.0)
    assert {turn.candidate for turn in turns} == {"plain"}
    assert standings["svm"].note == "out of time after 0 of 3 folds: the time was over"
    assert standings["svm"].macro_f1_mean is None


def test_folds_known_from_before_cost_no_time():
    scores = dict.fromkeys(("plain", "cnn"), (0.5,) * FOLDS)
    known = [Turn("cnn", 0), Turn("cnn", 1)]
    _, standings = run(scores, seconds=30.0, cost={"cnn": 20.0}, known=known)
    assert standings["cnn"].outcome == "measured"
    _, standings = run(scores, seconds=30.0, cost={"cnn": 20.0})
    assert standings["cnn"].note.startswith("out of time after 1 of 3 folds")


def test_a_network_that_stops_itself_is_out_of_time():
    race = Race(["cnn"], FOLDS, 10.0, Clock())
    (turn,) = (one for one in race.turns() if race.measured(one, StoppedFold(reason="an epoch takes 9 s")) is None)
    assert turn == Turn("cnn", 0)
    (only,) = race.standings()
    assert only.note == "out of time after 0 of 3 folds: an epoch takes 9 s"


@pytest.mark.parametrize(
    ("last", "cost", "outcome"),
    [
        pytest.param((0.3, 0.4, 0.9), 40.0, "pruned", id="dear and behind"),
        pytest.param((0.3, 0.4, 0.9), 20.0, "measured", id="too cheap to stop"),
        pytest.param((0.3, 0.8, 0.1), 40.0, "measured", id="one bad fold decides nothing"),
    ],
)
def test_who_lags_behind_the_median_is_pruned_when_that_saves_time(last, cost, outcome):
    scores = {"plain": (0.4, 0.5, 0.5), "knn": (0.5, 0.5, 0.5), "svm": (0.5, 0.6, 0.5), "cnn": last}
    _, standings = run(scores, cost={"cnn": cost})
    assert standings["cnn"].outcome == outcome
    if outcome == "pruned":
        assert standings["cnn"].note == (
            "pruned after 2 of 3 folds: macro-F1 0.350, below 0.500, the median of the others on the same folds"
        )


def test_with_two_rivals_nobody_is_pruned():
    _, standings = run({"plain": (0.9,) * 3, "svm": (0.9,) * 3, "cnn": (0.1,) * 3}, cost={"cnn": 40.0})
    assert standings["cnn"].outcome == "measured"


def test_who_fails_stops_no_other():
    _, standings = run({"plain": ("weights that do not fit",), "svm": (0.5,) * FOLDS}, folds=FOLDS)
    assert standings["plain"].note == "failed: weights that do not fit"
    assert standings["svm"].outcome == "measured"


def test_fewer_folds_than_asked_for_are_enough():
    turns, standings = run({"plain": (0.5, 0.6), "svm": (0.5, 0.6)}, folds=5)
    assert len(turns) == 4
    assert standings["svm"].outcome == "measured"
    assert standings["svm"].folds == 2


def test_options_that_most_folds_chose_are_kept():
    clock, race = Clock(), None
    race = Race(["cnn:searched"], FOLDS, 1000.0, clock)
    chosen = iter([{"mixup": 0.2}, {"mixup": 0.0}, {"mixup": 0.0}])
    for turn in race.turns():
        race.measured(turn, measured_fold(0.5, fold=turn.fold, options=next(chosen)))
    (only,) = race.standings()
    assert only.options == {"mixup": 0.0}
