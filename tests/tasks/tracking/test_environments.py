import os
import socket
import time
from contextlib import suppress
from dataclasses import replace
from itertools import count

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from tasks.errors import EnvironmentFailed, RegistryError, RequestError
from tasks.tracking import processes
from tasks.tracking.environments import Environments, Move
from tasks.tracking.ledger import EntryKind, Ledger, LedgerConflict, ending, open_move, standing
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry
from tests.homes import new_home
from tests.tasks.tracking import movers

NUMBERS = count()
VERSIONS = ("1", "2", "3")


class Site:
    """A model of three versions in a real registry, and a ledger."""

    def __init__(self, home, url):
        self.home, self.url = home, url
        self.registry, self.ledger = Registry(home), Ledger(url)
        self.environments = Environments(self.registry, self.ledger)
        self.client = MlflowClient(home.tracking_uri, home.registry_uri)
        self.model = f"bolts-{next(NUMBERS)}"
        self.make_model()

    def make_model(self, digest="{}"):
        self.client.create_registered_model(self.model)
        for version in VERSIONS:
            tags = {BUNDLE_DIGEST_TAG: digest.format(version) * 64}
            self.client.create_model_version(self.model, "/nowhere", tags=tags)

    def move(self, version, environment="staging", **fields):
        told = {"action": "promote", "who": "ana", "why": "it is better"}
        return Move(**{"model": self.model, "environment": environment, "to_version": version, **told, **fields})

    def begin(self, version, environment="staging", **options):
        return self.environments.begin(self.move(version, environment), **options)

    def stand(self, version, environment="staging"):
        begun = self.begin(version, environment)
        self.environments.expose(begun)
        return self.environments.confirm(begun, {"tested": True})

    def set_alias(self, version, environment="staging"):
        self.client.set_registered_model_alias(self.model, environment, version)

    def aliases(self):
        return {name: str(at) for name, at in self.client.get_registered_model(self.model).aliases.items()}

    def entries(self):
        return self.ledger.entries(self.model)

    def kinds(self):
        return [(one.kind.value, one.action, one.to_version) for one in self.entries()]

    def repair(self):
        return self.environments.repair(self.model)

    def from_elsewhere(self):
        """The same, as another process of another host sees it."""
        return Environments(Registry(self.home), self.ledger)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return new_home(tmp_path_factory.mktemp("environments") / "home")


@pytest.fixture
def site(home, tmp_path):
    """With a ledger in SQLite."""
    made = Site(home, f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    made.ledger.close()


@pytest.fixture
def each_site(home, database_url):
    """With a ledger in each kind of database."""
    made = Site(home, database_url)
    yield made
    made.ledger.close()


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


def test_eight_at_once_have_one_winner(each_site, tmp_path):
    site = each_site
    answers = movers.all_at_once(movers.move_all_the_way, tmp_path / "race", site.url, site.home, site.model, "2")
    [winner] = {who for _, who in answers}
    assert [who for is_done, who in answers if is_done] == [winner]
    assert site.kinds() == [("begun", "promote", "2"), ("done", "promote", "2")]
    assert {one.who for one in site.entries()} == {winner}
    assert site.aliases() == {"staging": "2"}


@pytest.mark.parametrize("step", movers.STEPS)
def test_killed_at_any_step_it_is_mended(step, each_site):
    left, expected = movers.STEPS[step]
    site = each_site
    site.stand("1")
    site.stand("1", "production")
    movers.killed(movers.move_and_die, step, site.url, site.home, site.model)
    assert site.aliases() == {"staging": left, "production": "1"}
    is_open = open_move(site.entries()) is not None
    assert is_open is (step not in {"before the beginning is committed", "confirmed", "taken back"})
    sentences = site.repair()
    assert len(sentences) == is_open
    assert site.aliases() == {"staging": expected, "production": "1"}
    assert standing(site.entries())["staging"].to_version == expected
    assert open_move(site.entries()) is None
    if is_open:
        assert sentences[0].startswith("ana began to move version 2")
        assert sentences[0].endswith("but its process has ended: the move was taken back")
        last = site.entries()[-1]
        assert (last.kind, last.action, last.who) == ("reverted", "repair", f"repair on {socket.gethostname()}")
    assert site.repair() == []
    assert site.stand("3").from_version == expected


def test_the_next_move_mends_first(site):
    site.stand("1")
    movers.killed(movers.move_and_die, "exposed", site.url, site.home, site.model)
    assert site.aliases() == {"staging": "2"}
    begun = site.begin("3")
    assert (begun.from_version, begun.sequence) == ("1", 5)
    assert site.aliases() == {"staging": "1"}


def test_move_is_left_when_its_lease_is_over(site):
    begun = site.begin("2", lease_seconds=0.05)
    site.environments.expose(begun)
    time.sleep(0.06)
    [sentence] = site.from_elsewhere().repair(site.model)
    assert sentence.endswith("but its time was over: the move was taken back")
    assert site.aliases() == {}
    for step in (site.environments.expose, lambda move: site.environments.confirm(move, {})):
        with pytest.raises(LedgerConflict, match=r"repair on .* took back the move"):
            step(begun)
    assert site.environments.take_back(begun, "no", {}).action == "repair"
    assert site.aliases() == {}


@pytest.mark.parametrize(
    ("change", "is_left"),
    [
        ({}, False),
        ({"started": psutil.Process().create_time() + 60}, True),
        ({"started": psutil.Process().create_time() + 0.5}, False),
        ({"pid": 2**22 + 1}, True),
        ({"host": "elsewhere", "pid": 2**22 + 1}, False),
        ({"pid": "many"}, False),
        ({"pid": -5}, False),
        (None, False),
    ],
    ids=["same", "number given again", "clock set", "gone", "of another host", "no number", "below zero", "unknown"],
)
def test_who_is_known_to_have_ended(change, is_left, site):
    process = None if change is None else processes.this_process() | change
    assert processes.has_ended(process) is is_left
    begun = site.begin("2")
    other = f"{site.model}-other"
    same = replace(ending(begun, EntryKind.BEGUN, "", {"process": process}), model=other, begins=0)
    site.ledger.append(same, expected_sequence=0, lease_seconds=60)
    assert len(site.environments.repair(other)) == is_left


def test_process_that_nobody_waits_for_has_ended():
    child = os.fork()
    if not child:
        os._exit(0)
    started = psutil.Process(child).create_time()
    deadline = time.monotonic() + 10
    while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
    assert processes.has_ended(processes.this_process() | {"pid": child, "started": started})
    os.waitpid(child, 0)


def test_containers_of_one_name_are_different_hosts():
    assert processes.this_process()["host"].startswith(f"{socket.gethostname()} pid:[")


def test_alias_moved_by_hand_is_moved_back(site):
    site.stand("1")
    site.stand("1", "production")
    site.set_alias("3")
    site.client.delete_registered_model_alias(site.model, "production")
    site.set_alias("2", "canary")
    assert sorted(site.repair()) == [
        f"production of {site.model} was at version none and is now at 1, as the ledger says",
        f"staging of {site.model} was at version 3 and is now at 1, as the ledger says",
    ]
    assert site.aliases() == {"staging": "1", "production": "1", "canary": "2"}


def test_repair_leaves_alone_what_others_are_about(site):
    site.stand("1")
    site.stand("1", "production")
    begun = site.begin("2")
    site.environments.expose(begun)
    site.set_alias("3", "production")
    assert len(site.from_elsewhere().repair(site.model)) == 1
    assert site.aliases() == {"staging": "2", "production": "1"}
    assert open_move(site.entries()) == begun


def test_repair_of_a_model_without_moves_asks_nobody(site, monkeypatch):
    monkeypatch.setattr(site.registry, "_client", None)
    for model in ("nobody", "", "a\0", "it's"):
        assert site.environments.repair(model) == []


def test_version_that_is_gone(site):
    site.stand("1")
    site.stand("2")
    site.client.delete_model_version(site.model, "2")
    said = f"version 2 of {site.model}, which the ledger has in staging, is no longer registered as it was: staging is"
    for _ in range(2):
        assert [one.startswith(said) for one in site.repair()] == [True]
    assert site.aliases() == {}
    site.set_alias("3")
    assert len(site.repair()) == 1
    assert site.aliases() == {}
    begun = site.begin("3")
    assert begun.from_version == "2"
    site.environments.expose(begun)
    site.environments.take_back(begun, "no", {})
    assert site.aliases() == {}
    assert site.stand("1").from_version == "2"
    assert site.repair() == []


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


def test_model_registered_again_has_not_the_versions_of_old(site):
    site.stand("1")
    begun = site.begin("2")
    site.client.delete_registered_model(site.model)
    site.make_model("a")
    with pytest.raises(RegistryError, match="another bundle"):
        site.environments.expose(begun)
    site.environments.take_back(begun, "it is another", {})
    assert site.aliases() == {}
    site.set_alias("1")
    assert "is no longer registered as it was" in site.repair()[0]
    assert site.aliases() == {}
    assert site.stand("1").sequence == 6
    assert site.aliases() == {"staging": "1"}


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


ENVIRONMENT = st.sampled_from(["staging", "production"])
VERSION = st.sampled_from(VERSIONS)
STEPS = st.one_of(
    st.tuples(st.just("begin"), ENVIRONMENT, VERSION, st.sampled_from([0.0, 600.0])),
    st.tuples(st.sampled_from(["expose", "confirm", "take_back"]), st.sampled_from([0, -1])),
    st.tuples(st.just("repair")),
    st.tuples(st.just("alias_by_hand"), ENVIRONMENT, VERSION),
    st.tuples(st.just("delete"), VERSION),
)


class Story:
    """Steps in any order: the newest move's or the oldest's, as a process would take them that was away for long."""

    def __init__(self, site):
        self.site, self.begun, self.set_by_hand = site, [], {}

    def begin(self, environment, version, lease_seconds):
        self.begun.append(self.site.begin(version, environment, lease_seconds=lease_seconds))

    def expose(self, which):
        self.site.environments.expose(self.begun[which])

    def confirm(self, which):
        self.site.environments.confirm(self.begun[which], {})

    def take_back(self, which):
        self.site.environments.take_back(self.begun[which], "no", {})

    def repair(self):
        self.site.repair()

    def alias_by_hand(self, environment, version):
        if version in self.registered():
            self.site.set_alias(version, environment)
            self.set_by_hand[environment] = version

    def delete(self, version):
        if version in self.registered():
            self.site.client.delete_model_version(self.site.model, version)

    def registered(self):
        return {info.version for info in self.site.registry.versions(self.site.model)}

    def tell(self, steps):
        for name, *told in steps:
            if self.begun or name not in {"expose", "confirm", "take_back"}:
                with suppress(LedgerConflict, RegistryError):
                    getattr(self, name)(*told)
        begun = open_move(self.site.entries())
        if begun and begun.lease_until_ms:
            self.site.environments.take_back(begun, "the end", {})


def test_after_any_steps_the_aliases_say_what_the_ledger_says(home, tmp_path):
    @settings(max_examples=30, deadline=None)
    @given(steps=st.lists(STEPS, min_size=3, max_size=12))
    def holds(steps):
        site = Site(home, f"sqlite:///{tmp_path / 'ledger.db'}")
        story = Story(site)
        story.tell(steps)
        site.repair()
        entries, aliases, registered = site.entries(), site.aliases(), story.registered()
        for name, entry in standing(entries).items():
            assert aliases.get(name, "") == (entry.to_version if entry.to_version in registered else "")
        for name in {"staging", "production"} - {entry.environment for entry in entries}:
            by_hand = story.set_by_hand.get(name, "")
            assert aliases.get(name, "") == (by_hand if by_hand in registered else "")
        assert all("no longer registered" in sentence for sentence in site.repair())
        assert site.entries() == entries
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        kinds = [entry.kind for entry in entries]
        assert kinds[::2] == [EntryKind.BEGUN] * len(kinds[::2])
        assert EntryKind.BEGUN not in kinds[1::2]
        assert len(kinds) % 2 == 0
        site.ledger.close()

    holds()
