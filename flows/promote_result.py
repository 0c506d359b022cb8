"""The result of a promotion or a rollback: the JSON line on stdout, what `promote()` and `rollback()` return."""

from collections.abc import Mapping
from typing import Literal, cast

from prefect.states import Completed
from pydantic import BaseModel

from tasks.inference_test.records import InferenceOutcome
from tasks.promote.moves import Approval, PlannedMove
from tasks.promote.records import MoveEvidence, VersionComparison
from tasks.promote.task import MovedVersion
from tasks.stores.content import StageRecord


class MoveResult(BaseModel, frozen=True):
    """Everything a caller needs to know of one move.

    Attributes:
        status: `moved`, or `rejected` when comparison, approval or test said no; then everything stands as before.
        reasons: why it was rejected, a sentence each.
        from_version: what stood in the environment before; empty when nothing did.
        to_version: what was to stand there.
        inference_test: how the version answered, fetched and opened afresh, before anything was moved.
        comparison: champion and challenger on the same images; None of a rollback.
        endpoint: how the version answered through the environment's endpoint; None when none was asked.
        sequence: of the ledger's entry that ends the move; 0 when none was begun.
        seconds: wall time by stage, of this run.
    """

    schema_version: int = 1
    status: Literal["moved", "rejected"]
    reasons: tuple[str, ...]
    action: str
    environment: str
    model_name: str
    from_version: str
    to_version: str
    bundle_digest: str
    approval: Approval
    inference_test: InferenceOutcome
    comparison: VersionComparison | None
    endpoint: Mapping[str, object] | None
    sequence: int
    prefect_flow_run_id: str
    seconds: dict[str, float]


def finished(result: MoveResult) -> MoveResult:
    """Let the Prefect UI show the status as the run's state; a caller of the flow still gets the result itself."""
    moved = f"{result.model_name} version {result.to_version} stands in {result.environment}"
    # Prefect hands a caller the state's data.
    return cast(
        MoveResult,
        Completed(name=result.status.capitalize(), message="; ".join(result.reasons) or moved, data=result),
    )


def collect(
    flow_run_id: str,
    planned: PlannedMove,
    evidence: MoveEvidence,
    approval: Approval,
    moved: MovedVersion,
    stages: Mapping[str, StageRecord],
) -> MoveResult:
    """Assemble the result from the stages' records."""
    return MoveResult(
        status="rejected" if moved.reasons else "moved",
        reasons=moved.reasons,
        action=planned.action,
        environment=planned.environment,
        model_name=planned.model_name,
        from_version=planned.from_version,
        to_version=planned.to_version,
        bundle_digest=planned.bundle_digest,
        approval=approval,
        inference_test=evidence.inference_test,
        comparison=evidence.comparison,
        endpoint=moved.endpoint.model_dump() if moved.endpoint else None,
        sequence=moved.sequence,
        prefect_flow_run_id=flow_run_id,
        seconds={name: record.seconds for name, record in stages.items()},
    )
