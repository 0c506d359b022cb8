"""What the listing remembers, and whose states it tells."""

import pytest

from deployments.endpoint import catalogue
from deployments.endpoint.catalogue import Catalogue
from tasks.serving.states import Status, VersionStates
from tasks.tracking.registry import Registry


class Counting(Registry):
    asked = 0

    def metrics(self, info):
        self.asked += 1
        return super().metrics(info)


def test_figures_of_more_runs_than_are_kept_are_still_kept(served_home, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "MAX_KNOWN_RUNS", 2)
    registry = Counting(served_home)
    listing = Catalogue(registry, VersionStates(f"sqlite:///{tmp_path / 'states.db'}"))
    first = listing.models(lambda _: True)
    for _ in range(19):
        assert listing.models(lambda _: True) == first
        assert len(listing._metrics) == 2
    assert 20 <= registry.asked < 20 * 3  # the least recently used of three would always be the one asked for next


@pytest.mark.parametrize(
    ("made_later_ms", "told"),
    [pytest.param(0, ["STOPPED", "RUNNING"], id="own"), pytest.param(60_000, ["RUNNING", "NOT_STARTED"], id="of old")],
)
def test_state_of_a_deleted_model_is_not_told(tmp_path, made_later_ms, told):
    states = VersionStates(f"sqlite:///{tmp_path / 'states.db'}")
    for qualifier, status in (("production", Status.STOPPED), ("1", Status.RUNNING)):
        states.move("bolts", qualifier, {None}, status)
    rows = states.all("bolts")
    assert [catalogue._state(one, rows, rows[one].changed_ms + made_later_ms) for one in ("production", "1")] == told
