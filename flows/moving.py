"""The boxes that promotion and the staging of a training have in common: compared, approved, moved, tested."""

from prefect.runtime import flow_run

from flows.approval import decided
from flows.environment_config import EnvironmentConfig
from flows.promote_result import MoveResult, collect
from flows.provision_config import promotion_limit
from tasks.bundle_export.records import ExportSource
from tasks.bundle_export.task import find_version
from tasks.errors import EnvironmentFailed, KeeneyeError
from tasks.evaluate.records import GateVerdict
from tasks.inference_test.records import InferenceTest
from tasks.promote.moves import PlannedMove
from tasks.promote.records import MoveEvidence
from tasks.promote.task import compare_versions, move_version
from tasks.stores.home import Home


def compare_and_move(
    home: Home,
    environment: EnvironmentConfig,
    planned: PlannedMove,
    version: ExportSource,
    tested: InferenceTest,
    *,
    gate: GateVerdict | None = None,
    approved_by: str = "",
    reason: str = "",
) -> MoveResult:
    """Move a version that answered its inference test, if comparison and approval say yes.

    Args:
        home: whose registry and ledger.
        environment: where to.
        planned: the move that the rules allow.
        version: to be moved.
        tested: how it answered.
        gate: the verdict of its training, for the ledger.
        approved_by: who approves; empty asks where a person must.
        reason: why.

    Raises:
        KeeneyeError: when nothing can be said, such as of a champion that is gone; nothing is moved then.
    """
    champion, obstacle = _champion(home, planned, environment)
    compared = compare_versions(home, champion, version, environment, obstacle)
    evidence = MoveEvidence(inference_test=tested.outcome, comparison=compared, gate=gate)
    approval = decided(planned, evidence, environment.policy, approved_by, reason)
    # A provisioned server lets no other promotion of the model run meanwhile; a rollback waits for nobody.
    move = move_version.with_options(tags={promotion_limit(planned.model_name)})
    moved = move(home, planned, version, evidence, approval, environment)

    stages = {"plan": planned, "version": version, "inference_test": tested, "compare": compared, "move": moved}
    return collect(str(flow_run.id or ""), planned, evidence, approval, moved, stages)


def _champion(home: Home, planned: PlannedMove, environment: EnvironmentConfig) -> tuple[ExportSource | None, str]:
    """Return what stands there now, and why there is nothing to compare with although something does."""
    if not planned.from_version:
        return None, ""
    try:
        return find_version(home, planned.from_uri), ""
    except EnvironmentFailed:
        raise
    except KeeneyeError as error:
        if environment.policy.comparison == "strict":
            raise
        return None, error.message
