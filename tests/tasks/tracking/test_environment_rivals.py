"""Several move and mend the same at once: one wins, and nobody undoes what another did."""

import time

import pytest

from tasks.tracking.ledger import LedgerConflict
from tests.tasks.tracking import movers


def test_eight_at_once_have_one_winner(each_site, tmp_path):
    site = each_site
    answers = movers.all_at_once(movers.move_all_the_way, tmp_path / "race", site.url, site.home, site.model, "2")
    [winner] = {who for _, who in answers}
    assert [who for is_done, who in answers if is_done] == [winner]
    assert site.kinds() == [("begun", "promote", "2"), ("done", "promote", "2")]
    assert {one.who for one in site.entries()} == {winner}
    assert site.aliases() == {"staging": "2"}


def test_repair_and_confirmation_at_once(site, monkeypatch):
    """The repair has put the alias back when the process, which was only slow, confirms."""
    site.stand("1")
    begun = site.begin("2", lease_seconds=0.01)
    site.environments.expose(begun)
    time.sleep(0.02)
    other = site.from_elsewhere()
    append = site.ledger.append

    def confirmed_before(entry, **options):
        monkeypatch.setattr(site.ledger, "append", append)
        assert site.aliases() == {"staging": "1"}
        site.environments.confirm(begun, {})
        assert site.aliases() == {"staging": "2"}
        site.set_alias("1")  # as if the repair had come to it only now
        return append(entry, **options)

    monkeypatch.setattr(site.ledger, "append", confirmed_before)
    assert other.repair(site.model) == []
    assert [one.kind for one in site.entries()][-2:] == ["begun", "done"]
    assert site.aliases() == {"staging": "2"}


def test_alias_set_after_the_move_was_taken_back_is_put_back(site, monkeypatch):
    site.stand("1")
    begun = site.begin("2", lease_seconds=0.01)
    time.sleep(0.02)
    set_alias = site.registry.set_alias

    def set_too_late(info, alias):
        site.from_elsewhere().repair(site.model)
        return set_alias(info, alias)

    with monkeypatch.context() as slow:
        slow.setattr(site.registry, "set_alias", set_too_late)
        with pytest.raises(LedgerConflict, match="repair on"):
            site.environments.expose(begun)
    assert site.aliases() == {"staging": "1"}


def test_who_was_away_for_long_disturbs_nobody(site):
    site.stand("1")
    begun = site.begin("2", lease_seconds=0.01)
    time.sleep(0.02)
    another = site.begin("3")
    site.environments.expose(another)
    for step in (site.environments.expose, lambda move: site.environments.confirm(move, {})):
        with pytest.raises(LedgerConflict, match=r"repair on .* took back the move of version 2"):
            step(begun)
    assert site.environments.take_back(begun, "no", {}).action == "repair"
    assert site.aliases() == {"staging": "3"}
    assert site.environments.confirm(another, {}).to_version == "3"


def test_repair_does_not_undo_a_move_that_begins_meanwhile(site, monkeypatch):
    site.stand("1")
    versions, other = site.registry.versions, site.from_elsewhere()

    def moved_meanwhile(model):
        monkeypatch.setattr(site.registry, "versions", versions)
        other.expose(other.begin(site.move("2")))
        return versions(model)

    monkeypatch.setattr(site.registry, "versions", moved_meanwhile)
    assert site.repair() == []
    assert site.aliases() == {"staging": "2"}


def test_alias_that_a_rival_sets_meanwhile_is_not_taken_for_an_old_one(site, monkeypatch):
    entries, other = site.ledger.entries, site.from_elsewhere()
    asked = []

    def moved_after_the_last(model):
        found = entries(model)
        asked.append(model)
        if len(asked) == 2:  # the first is the repair's
            monkeypatch.setattr(site.ledger, "entries", entries)
            other.expose(other.begin(site.move("2", who="bo")))
        return found

    monkeypatch.setattr(site.ledger, "entries", moved_after_the_last)
    with pytest.raises(LedgerConflict, match="bo began to move version 2"):
        site.environments.begin(site.move("3", from_version=""))


def test_two_that_mend_the_same_both_succeed(site, monkeypatch):
    site.stand("1")
    begun = site.begin("2", lease_seconds=0.01)
    site.environments.expose(begun)
    time.sleep(0.02)
    other, append = site.from_elsewhere(), site.ledger.append

    def mended_before(entry, **options):
        monkeypatch.setattr(site.ledger, "append", append)
        assert len(other.repair(site.model)) == 1
        return append(entry, **options)

    monkeypatch.setattr(site.ledger, "append", mended_before)
    assert site.begin("3").from_version == "1"
    assert site.kinds()[2:] == [("begun", "promote", "2"), ("reverted", "repair", "2"), ("begun", "promote", "3")]
    assert site.aliases() == {"staging": "1"}
