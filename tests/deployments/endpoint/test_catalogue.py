"""What the listing remembers, and whose states it tells."""

import pytest

from deployments.endpoint import catalogue
from deployments.endpoint.catalogue import Catalogue
from deployments.endpoint.server import make_parts
from flows.serve_config import ServeConfig
from tasks.serving.states import Status, VersionStates
from tasks.tracking.ledger import EntryKind, Ledger, NewEntry, ending
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


def test_status_tells_the_last_moves_and_asks_once_for_figures(served_home, tmp_path, monkeypatch):
    config = ServeConfig(no_auth=True, database=f"sqlite:///{tmp_path / 'keeneye.db'}")
    registry, ledger = Counting(served_home), Ledger(config.database)
    for place, version in (("staging", "1"), *[("production", "2"), ("production", "1")] * 2):
        last = len(ledger.entries("dents"))
        begun = NewEntry(
            model="dents",
            kind=EntryKind.BEGUN,
            action="promote",
            environment=place,
            from_version="",
            to_version=version,
            who="Ann",
        )
        begun = ledger.append(begun, expected_sequence=last)
        ledger.append(ending(begun, EntryKind.DONE, "", {}), expected_sequence=last + 1)
    monkeypatch.setattr("flows.status.HISTORY_TOLD", 3)
    parts = make_parts(config, None, registry, VersionStates(config.database), ledger)
    _, dents = parts.status(lambda _: True).models
    assert [(one.environment, one.version) for one in dents.places] == [("staging", "1"), ("production", "1")]
    assert [one.to_version for one in dents.history] == ["1", "2", "1"]
    assert dents.places[0].metrics == {"macro_f1": 0.812, "map_50": 0.75}
    asked = registry.asked
    assert parts.status(lambda _: True).models[1] == dents
    assert registry.asked == asked


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
