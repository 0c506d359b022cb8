"""Promotion and rollback, as Prefect runs them: planned, compared, then moved step by step, or taken back."""

import os
from base64 import b64encode
from itertools import islice
from pathlib import Path

from flows.environment_config import EnvironmentConfig
from tasks import engine
from tasks.bundle.predictor import Predictor
from tasks.bundle_export.records import ExportSource, FoundVersion
from tasks.dataset.files import is_unchanged, read_image_bytes
from tasks.errors import BundleError, DataError, KeeneyeError, RequestError
from tasks.ground_truth.manifests import read_manifest
from tasks.promote.comparison import compare, disagreements_between
from tasks.promote.disagreements import draw_disagreements, png_bytes
from tasks.promote.endpoint import (
    Credentials,
    EndpointUnreachable,
    answers_through,
    require_endpoint,
    wait_until_served,
)
from tasks.promote.endpoint_outcome import EndpointOutcome, compare_with_expected
from tasks.promote.moves import Approval, PlannedMove, PlannedStaging, plan_promotion, plan_rollback, plan_staging
from tasks.promote.records import MoveEvidence, VersionComparison
from tasks.stores.content import StageRecord
from tasks.stores.home import Home
from tasks.tracking.environments import Environments, Move
from tasks.tracking.ledger import Ledger, LedgerConflict, LedgerEntry
from tasks.tracking.registry import STATUS_TAG, Registry, VersionInfo

MAX_TESTED_IMAGES = 64
"""Test images sent through an endpoint: they show that it serves this version; how good it is was measured before."""
SERVED_SECONDS = 60.0
"""For an endpoint to serve a version that it has to load first."""


class MovedVersion(StageRecord, frozen=True):
    """What became of a move.

    Attributes:
        reasons: why it was not made, or taken back, a sentence each; empty when the version stands there now.
        sequence: of the ledger's entry that ends it; 0 when none was begun.
        endpoint: how the version answered through the environment's endpoint; None when none was asked.
    """

    reasons: tuple[str, ...] = ()
    sequence: int = 0
    endpoint: EndpointOutcome | None = None


@engine.stage("plan promotion")
def plan_promotion_of(home: Home, model: str, environment: EnvironmentConfig, version: str) -> PlannedMove:
    """Repair what an earlier command left, then choose and check the version to promote."""
    registry, ledger = Registry(home), Ledger(home.database_uri)
    versions = _mended(registry, ledger, model)
    return plan_promotion(versions, ledger.entries(model), environment.name, version, environment.policy.after)


@engine.stage("plan staging")
def plan_staging_of(home: Home, model: str, environment: EnvironmentConfig, version: str) -> PlannedStaging:
    """Repair what an earlier command left, then look whether a version just trained is to be moved to staging."""
    registry, ledger = Registry(home), Ledger(home.database_uri)
    versions = _mended(registry, ledger, model)
    return plan_staging(versions, ledger.entries(model), version, environment.policy.after)


@engine.stage("plan rollback")
def plan_rollback_of(home: Home, model: str, environment: EnvironmentConfig, steps: int) -> PlannedMove:
    """Repair what an earlier command left, then find the version to go back to."""
    registry, ledger = Registry(home), Ledger(home.database_uri)
    versions = _mended(registry, ledger, model)
    return plan_rollback(versions, ledger.entries(model), environment.name, steps)


@engine.stage("compare versions")
def compare_versions(
    home: Home,
    champion: ExportSource | None,
    challenger: ExportSource,
    environment: EnvironmentConfig,
    obstacle: str = "",
) -> VersionComparison:
    """Measure the challenger beside the champion on the same test images, and show the evidence.

    `obstacle` says why there is a champion and it cannot be measured. A lenient comparison that fails on one goes on
    without the champion.
    """
    try:
        compared = _compared(home, champion, challenger, environment)
    except (BundleError, DataError) as error:
        if champion is None or environment.policy.comparison == "strict":
            raise
        champion, obstacle = None, error.message
        compared = _compared(home, None, challenger, environment)
    if obstacle:
        compared = compared.model_copy(update={"needs_person": f"what stands there cannot be measured: {obstacle}"})
    engine.logger().info("%s", "; ".join(filter(None, (compared.sentence, compared.needs_person))))
    engine.publish_markdown(f"promotion {challenger.model_name}", compared.markdown)
    if champion and compared.disagreement_count:
        sheet = png_bytes(draw_disagreements(disagreements_between(home.store, champion, challenger)))
        picture = f"![answered differently](data:image/png;base64,{b64encode(sheet).decode('ascii')})"
        engine.publish_markdown(f"disagreements {challenger.model_name}", picture)
    return compared


def _compared(
    home: Home, champion: ExportSource | None, challenger: ExportSource, environment: EnvironmentConfig
) -> VersionComparison:
    policy = environment.policy
    return compare(
        home.store,
        champion,
        challenger,
        strictness=policy.comparison,
        min_difference=policy.min_difference,
        resamples=policy.resamples,
        confidence=policy.confidence,
    )


@engine.stage("move version")
def move_version(
    home: Home,
    planned: PlannedMove,
    version: FoundVersion,
    evidence: MoveEvidence,
    approval: Approval,
    environment: EnvironmentConfig,
) -> MovedVersion:
    """Move the alias, have the environment's endpoint tested, and write it down; or take everything back.

    A rollback is not taken back because the endpoint is slow, or because images to send it are gone.
    """
    reasons = evidence.reasons or _reasons_of(approval)
    move = _move_of(planned, evidence, approval)
    moved = MovedVersion(reasons=reasons) if reasons else _moved(home, move, version, environment)
    log = engine.logger()
    for reason in moved.reasons:
        log.warning("rejected: %s", reason)
    if not moved.reasons:
        _offer_again(home, planned)
        log.info("%s version %s stands in %s", planned.model_name, planned.to_version, planned.environment)
    return moved


def _offer_again(home: Home, planned: PlannedMove) -> None:
    try:
        registry = Registry(home)
        info = registry.version(planned.model_name, planned.to_version)
        if info.tags.get(STATUS_TAG) == "refused":  # by staging, before somebody promoted it by its number
            registry.set_status(info, "registered", ())
    except KeeneyeError as error:  # the move is done, whatever a status still says
        engine.logger().warning(
            "version %s of %s may still be called refused: %s", planned.to_version, planned.model_name, error.message
        )


def _reasons_of(approval: Approval) -> tuple[str, ...]:
    if approval.approved:
        return ()
    return (f"not approved by {approval.who}: {approval.why or 'no reason was given'}",)


def _mended(registry: Registry, ledger: Ledger, model: str) -> list[VersionInfo]:
    versions = registry.versions(model)
    if not versions:
        names = ", ".join(one.name for one in registry.models()[:5]) or "none"
        raise RequestError(f"the registry has no model {model}; there are {names}")
    repaired = Environments(registry, ledger).repair(model)
    for sentence in repaired:
        engine.logger().warning("repaired: %s", sentence)
    return registry.versions(model) if repaired else versions


def _moved(home: Home, move: Move, version: FoundVersion, environment: EnvironmentConfig) -> MovedVersion:
    credentials = Credentials.from_environment(os.environ)
    is_served = _is_served(environment, credentials, move.model)
    environments = Environments(Registry(home), Ledger(home.database_uri))
    begun = environments.begin(move)
    try:
        environments.expose(begun)
        outcome = _tested(move, version, environment, credentials) if is_served else None
    except LedgerConflict:  # others have ended the move, and the aliases are what they say
        raise
    except KeeneyeError as error:
        reverted = environments.take_back(begun, error.message, {})
        return MovedVersion(reasons=(error.message,), sequence=reverted.sequence)
    except BaseException as error:  # cancelled, or nobody foresaw it: what was not tested does not stay
        environments.take_back(begun, f"{type(error).__name__}: {error}", {})
        raise
    return _ended(environments, begun, outcome)


def _move_of(planned: PlannedMove, evidence: MoveEvidence, approval: Approval) -> Move:
    return Move(
        model=planned.model_name,
        action=planned.action,
        environment=planned.environment,
        from_version=planned.from_version,
        to_version=planned.to_version,
        who=approval.who,
        why=approval.why,
        bundle_digest=planned.bundle_digest,
        evidence={"approval": approval.model_dump(), **evidence.model_dump(mode="json")},
    )


def _ended(environments: Environments, begun: LedgerEntry, outcome: EndpointOutcome | None) -> MovedVersion:
    evidence = {"endpoint": outcome.model_dump(mode="json") if outcome else None}
    if outcome and not outcome.passed:
        reverted = environments.take_back(begun, "; ".join(outcome.reasons), evidence)
        return MovedVersion(reasons=outcome.reasons, sequence=reverted.sequence, endpoint=outcome)
    done = environments.confirm(begun, evidence)
    return MovedVersion(sequence=done.sequence, endpoint=outcome)


def _is_served(environment: EnvironmentConfig, credentials: Credentials | None, model: str) -> bool:
    """Tell whether the environment's endpoint answers.

    Raises:
        EndpointUnreachable: when it does not, and must; nothing is moved then.
    """
    try:
        require_endpoint(environment.address, credentials, model)
    except EndpointUnreachable as error:
        if environment.endpoint == "always":
            raise
        engine.logger().warning("%s; what is moved is not tested through it", error.message)
        return False
    return True


def _tested(
    move: Move, version: FoundVersion, environment: EnvironmentConfig, credentials: Credentials | None
) -> EndpointOutcome:
    address, alias, policy = environment.address, environment.name, environment.policy
    is_rollback = move.action == "rollback"
    waited = wait_until_served(
        address, credentials, move.model, alias, move.to_version, move.bundle_digest, SERVED_SECONDS
    )
    engine.logger().info("%s serves version %s after %.1f s", address, move.to_version, waited)
    predictor = Predictor.open(Path(version.bundle_path), expected_digest=version.bundle_digest)
    files = _test_files(version, only_unchanged=is_rollback)
    expected = [prediction for data in files for prediction in predictor.predict_bytes([data])]
    outcome = compare_with_expected(
        expected,
        answers_through(address, credentials, move.model, alias, files),
        thresholds=predictor.card.thresholds,
        scoring=predictor.card.scoring,
        version=move.to_version,
        bundle_digest=move.bundle_digest,
        max_confidence_drift=policy.max_confidence_drift,
        max_latency_ms=policy.max_latency_ms,
        is_rollback=is_rollback,
    )
    for warning in outcome.warnings:
        engine.logger().warning("%s", warning)
    return outcome


def _test_files(version: FoundVersion, *, only_unchanged: bool) -> list[bytes]:
    if version.manifest is None:
        return []
    root = Path(version.manifest.roots["test"])
    entries = islice(read_manifest(version.manifest.manifest_path("test")), MAX_TESTED_IMAGES)
    return [read_image_bytes(root, entry) for entry in entries if not only_unchanged or is_unchanged(root, entry)]
