"""Back to a version that stood in an environment before: opened again, moved, tested through the endpoint.

The way out of an emergency: only what the version's own bundle shows can refuse it. That the machine is slow just now,
or that images and evaluation have gone since, is told in the record and the ledger.
"""

from prefect import flow
from prefect.runtime import flow_run

from flows.approval import require_name
from flows.environment_config import environment_config
from flows.orphaned_runs import begin
from flows.promote_config import ModelName, RollbackConfig, StepCount
from flows.promote_result import MoveResult, collect, finished
from tasks.bundle_export.task import find_version_again
from tasks.inference_test.task import check_version_again
from tasks.promote.moves import Approval
from tasks.promote.records import MoveEvidence
from tasks.promote.task import move_version, plan_rollback_of
from tasks.tracking.environment_names import EnvironmentName
from tasks.tracking.registry import POLICY


@flow(name="rollback", persist_result=False)
def rollback(
    model: ModelName,
    environment: EnvironmentName = "production",
    steps: StepCount = 1,
    approved_by: str = "",
    reason: str = "",
) -> MoveResult:
    """Return an environment to a version that stood there before.

    Args:
        model: The registered model.
        environment: The environment to roll back.
        steps: How many versions to go back.
        approved_by: Who rolls back.
        reason: Why.
    """
    config = RollbackConfig(model=model, environment=environment, steps=steps, approved_by=approved_by, reason=reason)
    place = environment_config(config.environment)
    require_name(place.policy, config.approved_by, config.reason, config.environment)
    home = begin()

    planned = plan_rollback_of(home, config.model, place, config.steps)
    target = find_version_again(home, planned.to_uri)
    tested = check_version_again(home, target, place)
    evidence = MoveEvidence(inference_test=tested.outcome)
    approval = Approval(approved=True, who=config.approved_by.strip() or POLICY, why=config.reason)
    moved = move_version(home, planned, target, evidence, approval, place)

    stages = {"plan": planned, "version": target, "inference_test": tested, "move": moved}
    return finished(collect(str(flow_run.id or ""), planned, evidence, approval, moved, stages))
