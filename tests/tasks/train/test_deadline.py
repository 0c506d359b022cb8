import time
from contextlib import nullcontext

import pytest

from tasks.train import deadline
from tasks.train.deadline import Deadline, OutOfTime, within


def row_of(epoch, at=None):
    return {"epoch": epoch, "seconds": 5.0, "time": time.time() if at is None else at}


@pytest.mark.parametrize(
    ("epoch", "left", "fits"),
    [
        pytest.param(1, 100.0, True, id="time for all"),
        pytest.param(1, 20.0, False, id="not even the least"),
        pytest.param(9, 26.0, True, id="this fold has its least already"),
        pytest.param(9, 24.0, False, id="the next fold does not fit"),
    ],
)
def test_an_epoch_shows_whether_the_folds_fit(epoch, left, fits):
    deadline = Deadline(time.time() + left, least_epochs=5, folds_left=2)
    if fits:
        deadline.check(row_of(epoch))
        return
    with pytest.raises(OutOfTime, match=r"an epoch takes 5\.0 s"):
        deadline.check(row_of(epoch))


def test_past_the_end_nothing_goes_on():
    with pytest.raises(OutOfTime, match=r"0 s are left"):
        Deadline(time.time() - 1.0, least_epochs=5, folds_left=1).check(row_of(9))


def test_a_long_step_ends_when_its_time_is_over(monkeypatch):
    now, told = [100.0], []
    monkeypatch.setattr(deadline.time, "time", lambda: now[0])
    watched = within(lambda *_: nullcontext(lambda *counts: told.append(counts)), 130.0)
    with watched("embed images", "images") as report:
        report(64, 200)
        now[0] = 131.0
        with pytest.raises(OutOfTime, match=r"over after 128 of 200 images \(embed images\)"):
            report(128, 200)
        # What is finished is finished, however late.
        report(200, 200)
    assert told == [(64, 200), (128, 200), (200, 200)]


def test_epochs_from_before_a_kill_stop_nothing():
    began = time.time()
    ending = Deadline(began + 20.0, least_epochs=10, folds_left=1, since=began)
    for epoch in range(1, 9):
        ending.check(row_of(epoch, began - 1.0))
    ending.check(row_of(9, began + 5.0))
    with pytest.raises(OutOfTime):
        ending.check(row_of(1, began + 5.0))
