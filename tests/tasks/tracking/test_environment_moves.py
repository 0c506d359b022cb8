"""A move from its beginning to its end: what it writes down, what it refuses, what is as before."""

import os
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from tasks.errors import EnvironmentFailed, RegistryError, RequestError
from tasks.tracking.ledger import LedgerConflict, open_move, standing


def test_a_move_step_by_step(each_site):
    site = each_site
    begun = site.environments.begin(site.move("2", evidence={"gate": {"passed": True}}), lease_seconds=60)
    assert (begun.kind, begun.environment, begun.from_version, begun.to_version) == ("begun", "staging", "", "2")
    assert (begun.who, begun.why, begun.action, begun.bundle_digest) == ("ana", "it is better", "promote", "2" * 64)
    assert begun.evidence["gate"] == {"passed": True}
    assert begun.evidence["process"]["pid"] == os.getpid()
    assert begun.lease_until_ms - begun.at_ms == 60_000
    assert site.aliases() == {}
    exposed = site.environments.expose(begun)
    assert (exposed.version, exposed.aliases) == ("2", ("staging",))
    assert site.aliases() == {"staging": "2"}
    assert standing(site.entries()) == {}
    done = site.environments.confirm(begun, {"endpoint": {"images": 7}})
    assert site.entries() == [begun, done]
    assert (done.kind, done.begins, done.from_version, done.to_version, done.who) == ("done", 1, "", "2", "ana")
    assert done.evidence == {"gate": {"passed": True}, "endpoint": {"images": 7}}
    assert standing(site.entries()) == {"staging": done}
    assert site.aliases() == {"staging": "2"}
    assert site.repair() == []


def test_the_next_move_starts_where_the_last_ended(site):
    site.stand("1")
    site.stand("1", "production")
    site.stand("3")
    begun = site.environments.begin(site.move("2", "production", action="rollback"))
    assert (begun.from_version, begun.action) == ("1", "rollback")
    site.environments.expose(begun)
    assert site.environments.confirm(begun, {}).action == "rollback"
    assert site.aliases() == {"staging": "3", "production": "2"}


@pytest.mark.parametrize("is_exposed", [True, False], ids=["exposed", "not exposed"])
def test_what_was_taken_back_is_as_before(is_exposed, each_site):
    site = each_site
    for before in ({}, {"staging": "1"}):
        begun = site.begin("2")
        if is_exposed:
            site.environments.expose(begun)
        reverted = site.environments.take_back(begun, "3 of 7 answers differ", {"differ": 3})
        assert (reverted.kind, reverted.begins, reverted.who) == ("reverted", begun.sequence, "ana")
        assert (reverted.why, reverted.evidence) == ("3 of 7 answers differ", {"differ": 3})
        assert site.aliases() == before
        assert open_move(site.entries()) is None
        assert site.repair() == []
        if not before:
            site.stand("1")


def test_ends_said_twice_are_one(site):
    begun = site.begin("1")
    done = site.environments.confirm(begun, {})  # also exposes what was not
    assert site.aliases() == {"staging": "1"}
    assert site.environments.confirm(begun, {"again": True}) == done
    second = site.begin("2")
    reverted = site.environments.take_back(second, "no", {})
    assert site.environments.take_back(second, "no, really", {}) == reverted
    assert len(site.entries()) == 4


def test_one_end_excludes_the_other(site):
    begun = site.begin("1")
    site.environments.expose(begun)
    site.environments.confirm(begun, {})
    with pytest.raises(LedgerConflict, match=r"ana moved version 1 of bolts-\d+ to staging at"):
        site.environments.take_back(begun, "too late", {})
    assert site.aliases() == {"staging": "1"}
    second = site.begin("2")
    site.environments.expose(second)
    site.environments.take_back(second, "no", {})
    for step in (site.environments.expose, lambda move: site.environments.confirm(move, {})):
        with pytest.raises(LedgerConflict, match="ana took back the move of version 2"):
            step(second)
    assert site.aliases() == {"staging": "1"}
    assert len(site.entries()) == 4


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_who_comes_while_a_move_is_open_is_told_who_is_at_it(environment, site):
    begun = site.begin("2")
    with pytest.raises(LedgerConflict, match=r"ana began to move version 2 of .* to staging at .*; `keeneye status`"):
        site.environments.begin(site.move("3", environment, who="bo"))
    site.environments.expose(begun)
    with pytest.raises(LedgerConflict) as caught:
        site.from_elsewhere().begin(site.move("3", environment, who="bo"))
    assert caught.value.winner == begun
    assert site.aliases() == {"staging": "2"}
    assert len(site.entries()) == 1


def test_who_compared_with_another_version_is_told_who_changed_it(site):
    site.stand("1")
    done = site.stand("2")
    with pytest.raises(LedgerConflict, match="ana moved version 2") as caught:
        site.environments.begin(site.move("3", who="bo", from_version="1"))
    assert caught.value.winner == done
    assert site.environments.begin(site.move("3", who="bo", from_version="2")).from_version == "2"


def test_alias_from_before_the_ledger(site):
    site.set_alias("1")
    with pytest.raises(RegistryError, match=r"staging of .* is at version 1, not at none as when it was compared"):
        site.environments.begin(site.move("2", from_version=""))
    assert site.repair() == []
    begun = site.environments.begin(site.move("2", from_version="1"))
    assert begun.from_version == "1"
    site.environments.expose(begun)
    site.environments.take_back(begun, "no", {})
    assert site.aliases() == {"staging": "1"}
    assert site.stand("1").from_version == "1"  # what stood there before may be written down


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"environment": "moon"}, RequestError, "no environment 'moon'; name staging or production"),
        ({"to_version": "9"}, RegistryError, "version=9"),
        ({"to_version": "newest"}, RegistryError, "newest"),
        ({"model": "nobody"}, RegistryError, "nobody"),
        ({"model": ""}, RegistryError, "MLflow refuses"),
        ({"bundle_digest": "e" * 64}, RegistryError, "holds another bundle than was tested"),
        ({"to_version": "1"}, RegistryError, "ana moved version 1 of .*: it stands there already"),
        ({"who": ""}, RequestError, "cannot keep who ''"),
        ({"who": "a\0"}, RequestError, "cannot keep who"),
        ({"evidence": {"f1": float("nan")}}, RequestError, "no JSON"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_moved_moves_nothing(fields, error, said, site):
    site.stand("1")
    before = site.entries()
    with pytest.raises(error, match=said):
        site.environments.begin(replace(site.move("2"), **fields))
    assert site.entries() == before
    assert site.aliases() == {"staging": "1"}


def test_number_is_kept_as_the_registry_writes_it(site):
    assert site.begin("02").to_version == "2"


def test_version_that_goes_while_it_is_moved(site):
    site.stand("1")
    begun = site.begin("2")
    site.environments.expose(begun)
    site.client.delete_model_version(site.model, "2")
    for step in (site.environments.expose, lambda move: site.environments.confirm(move, {})):
        with pytest.raises(RegistryError, match="version=2"):
            step(begun)
    site.environments.take_back(begun, "it is gone", {})
    assert site.aliases() == {"staging": "1"}


def test_model_that_goes_while_it_is_moved(site):
    site.stand("1")
    begun = site.begin("2")
    site.client.delete_registered_model(site.model)
    assert site.environments.take_back(begun, "it is gone", {}).kind == "reverted"
    assert len(site.repair()) == 1


def test_nothing_is_lost_while_the_registry_is_away(site, monkeypatch):
    site.stand("1")
    begun = site.begin("2")
    site.environments.expose(begun)
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with monkeypatch.context() as away:
        away.setattr(site.registry, "_client", MlflowClient(nowhere, nowhere))
        for step in (
            lambda: site.environments.confirm(begun, {}),
            lambda: site.environments.take_back(begun, "no", {}),
            lambda: site.begin("3"),
        ):
            with pytest.raises(EnvironmentFailed, match="does not answer"):
                step()
    assert open_move(site.entries()) == begun
    site.environments.take_back(begun, "no", {})
    assert site.aliases() == {"staging": "1"}
