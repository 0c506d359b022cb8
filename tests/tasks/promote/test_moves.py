"""The rules of moves, from made registries and ledgers."""

import pytest

from tasks.errors import RegistryError, RequestError
from tasks.promote.moves import plan_promotion, plan_rollback, plan_staging, standing_versions
from tasks.tracking.ledger import EntryKind, LedgerEntry
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, REASONS_TAG, STATUS_TAG, VersionInfo


def version(number, status="registered", aliases=(), **tags):
    known = {STATUS_TAG: status, BUNDLE_DIGEST_TAG: f"{number:064d}"} | tags
    return VersionInfo("bolts", str(number), f"run{number}", known, tuple(aliases))


def versions(*found):
    return sorted(found, key=lambda one: -int(one.version))


def ledger(*moves):
    """Entries of (action, environment, from, to[, kind]) in order, each move begun and ended."""
    entries = []
    for action, environment, from_version, to_version, *kind in moves:
        begins = len(entries) + 1
        for name in (EntryKind.BEGUN, *(kind or [EntryKind.DONE])):
            entries.append(
                LedgerEntry(
                    model="bolts",
                    kind=name,
                    action=action,
                    environment=environment,
                    from_version=from_version,
                    to_version=to_version,
                    who="ann",
                    bundle_digest=f"{int(to_version):064d}",
                    begins=begins,
                    sequence=len(entries) + 1,
                    at_ms=len(entries),
                    lease_until_ms=0,
                )
            )
    return entries


THREE = versions(version(1), version(2), version(3))


def test_newest_that_passed_goes_to_staging():
    others = (version(3, "rejected"), version(4, "candidate"), version(5, "refused"))
    found = versions(version(1), version(2, "staged"), *others)
    planned = plan_promotion(found, [], "staging", "", "")
    assert (planned.to_version, planned.from_version, planned.action) == ("2", "", "promote")
    assert planned.bundle_digest == f"{2:064d}"
    assert (planned.from_uri, planned.to_uri) == ("", "models:/bolts/2")


def test_version_that_staging_refused_is_tried_again_by_its_number():
    found = versions(version(1), version(2, "refused"))
    assert plan_promotion(found, [], "staging", "2", "").to_version == "2"
    with pytest.raises(RegistryError, match="staging refused those that did; train one, or name one with --version"):
        plan_promotion(versions(version(2, "refused")), [], "staging", "", "")


@pytest.mark.parametrize(
    ("found", "moves", "moved_from", "stands", "replaced"),
    [
        pytest.param(THREE, [], "", False, "", id="first"),
        pytest.param(THREE, [("promote", "staging", "", "2")], "2", False, "", id="after another"),
        pytest.param(THREE, [("promote", "staging", "2", "3")], None, True, "2", id="stands there"),
        pytest.param(
            THREE,
            [("promote", "staging", "2", "3"), ("promote", "staging", "3", "1")],
            None,
            False,
            "2",
            id="had its turn",
        ),
        pytest.param(THREE, [("promote", "staging", "2", "3", EntryKind.REVERTED)], "", False, "", id="taken back"),
        pytest.param(THREE, [("promote", "production", "2", "3")], "", False, "", id="elsewhere"),
        pytest.param(versions(version(3, aliases=["staging"])), [], None, True, "", id="before the ledger"),
        pytest.param(
            versions(version(3, **{BUNDLE_DIGEST_TAG: "f" * 64}), version(2)),
            [("promote", "staging", "", "3"), ("promote", "staging", "3", "2")],
            "2",
            False,
            "",
            id="another model had its number",
        ),
    ],
)
def test_version_just_trained_goes_to_staging_once(found, moves, moved_from, stands, replaced):
    planned = plan_staging(found, ledger(*moves), "3", "")
    assert (planned.move.from_version if planned.move else None) == moved_from
    assert (planned.outcome.stands, planned.outcome.replaced) == (stands, replaced)
    assert not planned.move or planned.move.to_version == "3"


def test_what_stands_in_staging_goes_to_production():
    entries = ledger(("promote", "staging", "", "2"), ("promote", "production", "", "1"))
    planned = plan_promotion(THREE, entries, "production", "", "staging")
    assert (planned.from_version, planned.to_version) == ("1", "2")


def test_alias_from_before_the_ledger_counts():
    found = versions(version(1, aliases=["staging"]), version(2))
    assert standing_versions(found, []) == {"staging": "1"}
    assert plan_promotion(found, [], "production", "", "staging").to_version == "1"
    assert standing_versions(found, ledger(("promote", "staging", "1", "2"))) == {"staging": "2"}


@pytest.mark.parametrize(
    ("found", "moves", "environment", "wanted", "after", "error", "sentence"),
    [
        pytest.param(
            THREE, [], "staging", "9", "", RequestError, "has no version 9; the newest are 3, 2, 1", id="unknown"
        ),
        pytest.param(
            versions(version(1, "rejected", **{REASONS_TAG: "macro-F1 0.2 is below 0.8"})),
            [],
            "staging",
            "1",
            "",
            RegistryError,
            "was rejected: macro-F1 0.2 is below 0.8",
            id="rejected",
        ),
        pytest.param(
            versions(version(1, "candidate")), [], "staging", "1", "", RegistryError, "not tested", id="not tested"
        ),
        pytest.param(versions(version(1, "")), [], "staging", "1", "", RegistryError, "status none", id="of others"),
        pytest.param(
            versions(version(1, "rejected")), [], "staging", "", "", RegistryError, "has passed its gate", id="none"
        ),
        pytest.param(
            THREE,
            [("promote", "staging", "", "2")],
            "staging",
            "2",
            "",
            RequestError,
            "stands in staging already",
            id="there",
        ),
        pytest.param(
            THREE,
            [("promote", "staging", "", "2")],
            "production",
            "3",
            "staging",
            RegistryError,
            "does not stand in staging .version 2 does.",
            id="skips staging",
        ),
        pytest.param(THREE, [], "production", "3", "staging", RegistryError, "nothing does", id="empty staging"),
        pytest.param(
            THREE, [], "production", "", "staging", RegistryError, "no version of bolts stands", id="nothing staged"
        ),
    ],
)
def test_refused_promotions(found, moves, environment, wanted, after, error, sentence):
    with pytest.raises(error, match=sentence):
        plan_promotion(found, ledger(*moves), environment, wanted, after)


def test_move_that_was_taken_back_does_not_count():
    entries = ledger(("promote", "staging", "", "1"), ("promote", "staging", "1", "2", EntryKind.REVERTED))
    assert plan_promotion(THREE, entries, "staging", "2", "").from_version == "1"


PRODUCTION = [
    ("promote", "production", "", "1"),
    ("promote", "production", "1", "2"),
    ("promote", "production", "2", "3"),
]


@pytest.mark.parametrize(
    ("moves", "steps", "expected"),
    [
        pytest.param(PRODUCTION, 1, ("3", "2"), id="one"),
        pytest.param(PRODUCTION, 2, ("3", "1"), id="two"),
        pytest.param([*PRODUCTION, ("rollback", "production", "3", "2")], 1, ("2", "1"), id="further back"),
        pytest.param(
            [*PRODUCTION, ("rollback", "production", "3", "1"), ("promote", "production", "1", "3")],
            1,
            ("3", "1"),
            id="forward again",
        ),
        pytest.param([("promote", "production", "1", "2")], 1, ("2", "1"), id="alias from before the ledger"),
        pytest.param([*PRODUCTION, ("promote", "staging", "", "1")], 1, ("3", "2"), id="other environment"),
    ],
)
def test_rollback_goes_back_through_what_stood_there(moves, steps, expected):
    planned = plan_rollback(THREE, ledger(*moves), "production", steps)
    assert (planned.from_version, planned.to_version) == expected
    assert planned.action == "rollback"


@pytest.mark.parametrize(
    ("found", "moves", "steps", "error", "sentence"),
    [
        pytest.param(THREE, [], 1, RequestError, "no earlier version", id="nothing stood there"),
        pytest.param(THREE, PRODUCTION[:1], 1, RequestError, "no earlier version", id="first"),
        pytest.param(THREE, PRODUCTION, 3, RequestError, "only 2 earlier", id="too far"),
        pytest.param(versions(version(3)), PRODUCTION, 1, RegistryError, "no longer registered", id="deleted"),
        pytest.param(
            versions(version(2, "rejected", **{REASONS_TAG: "late"}), version(3)),
            PRODUCTION,
            1,
            RegistryError,
            "rejected since: late",
            id="rejected since",
        ),
        pytest.param(
            versions(version(2, **{BUNDLE_DIGEST_TAG: "f" * 64}), version(3)),
            PRODUCTION,
            1,
            RegistryError,
            "not what stood in production before, it holds another bundle",
            id="another model of the same name",
        ),
        pytest.param(
            versions(version(1, **{BUNDLE_DIGEST_TAG: ""}), version(2)),
            [("promote", "production", "1", "2")],
            1,
            RegistryError,
            "holds no bundle of Keeneye",
            id="of others, from before the ledger",
        ),
    ],
)
def test_refused_rollbacks(found, moves, steps, error, sentence):
    with pytest.raises(error, match=sentence):
        plan_rollback(found, ledger(*moves), "production", steps)
