"""From one environment to the next: measured against what stands there, approved, moved, tested, or taken back."""

from prefect import flow

from flows.approval import require_approver
from flows.environment_config import environment_config
from flows.moving import compare_and_move
from flows.orphaned_runs import begin
from flows.promote_config import ModelName, PromoteConfig
from flows.promote_result import MoveResult, finished
from tasks.bundle_export.task import find_version
from tasks.inference_test.task import check_version
from tasks.promote.task import plan_promotion_of
from tasks.tracking.environment_names import EnvironmentName


@flow(name="promote", persist_result=False)
def promote(
    model: ModelName,
    to: EnvironmentName = "staging",
    version: str = "",
    approved_by: str = "",
    reason: str = "",
) -> MoveResult:
    """Put a version that passed its tests into staging or production, tested there.

    Args:
        model: The registered model.
        to: The environment to promote to.
        version: Number of the version; empty takes the newest that passed, for production the one in staging.
        approved_by: Who approves; empty asks in the Prefect UI where a person must approve.
        reason: Why.
    """
    config = PromoteConfig(model=model, to=to, version=version, approved_by=approved_by, reason=reason)
    environment = environment_config(config.to)
    require_approver(environment.policy, config.approved_by, config.reason, config.to)
    home = begin()

    planned = plan_promotion_of(home, config.model, environment, config.version)
    challenger = find_version(home, planned.to_uri)
    tested = check_version(home, challenger, environment)
    who, why = config.approved_by, config.reason
    return finished(compare_and_move(home, environment, planned, challenger, tested, approved_by=who, reason=why))
