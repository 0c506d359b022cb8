"""What a process left that has ended is mended, and aliases say again what the ledger says."""

import os
import socket
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import RegistryError
from tasks.tracking import processes
from tasks.tracking.ledger import EntryKind, LedgerConflict, ending, open_move, standing
from tests.tasks.tracking import movers
from tests.tasks.tracking.made_site import VERSIONS, Site

# Who has ended


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


# What was changed by hand


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


# After any steps


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
