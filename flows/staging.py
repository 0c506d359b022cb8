"""The last box of a training: the version gets its status, and goes to staging as any promotion does."""

from flows.environment_config import EnvironmentConfig
from flows.moving import compare_and_move
from flows.promote_result import MoveResult
from tasks.bundle_export.records import ExportSource
from tasks.errors import EnvironmentFailed, KeeneyeError, RequestError
from tasks.evaluate.records import Evaluation
from tasks.inference_test.records import InferenceTest
from tasks.manifest.records import Manifest
from tasks.promote.records import StagingOutcome
from tasks.promote.task import plan_staging_of
from tasks.register.records import RegisteredVersion
from tasks.register.task import judge_version, note_staging
from tasks.stores.home import Home
from tasks.tracking.ledger import LedgerConflict
from tasks.train.records import TrainedModel


def stage_version(
    home: Home,
    version: RegisteredVersion,
    manifest: Manifest,
    model: TrainedModel,
    measured: Evaluation,
    trial: InferenceTest,
    staging: EnvironmentConfig | None,
) -> RegisteredVersion:
    """Judge a version by its gate and its inference test, and promote it to staging; None wants no staging.

    Raises:
        RequestError: when the endpoint of staging does not take the key, or half of one is set.
        EnvironmentFailed: when registry, ledger or an endpoint that must answer do not.
    """
    judged = judge_version(home, version, measured, trial)
    if judged.status == "rejected" or staging is None:
        return judged
    planned = plan_staging_of(home, judged.model_name, staging, judged.model_version)
    if planned.move is None:
        return note_staging(home, judged, planned.outcome)
    try:
        source = _source(judged, manifest, model, measured)
        result = compare_and_move(home, staging, planned.move, source, trial, gate=measured.gate)
        outcome = _outcome(result)
    except (EnvironmentFailed, RequestError):
        raise
    except LedgerConflict as lost:  # another promotion was faster, which says nothing against this version
        outcome = StagingOutcome(stands=False, reasons=(lost.message,))
    except KeeneyeError as error:  # what was learned is kept and told
        outcome = StagingOutcome(stands=False, refused=True, reasons=(error.message,))
    return note_staging(home, judged, outcome)


def _outcome(result: MoveResult) -> StagingOutcome:
    return StagingOutcome(
        stands=result.status == "moved",
        refused=result.status == "rejected" and not result.approval.waits_for_person,
        reasons=result.reasons,
        replaced=result.from_version,
        comparison=result.comparison,
    )


def _source(version: RegisteredVersion, manifest: Manifest, model: TrainedModel, measured: Evaluation) -> ExportSource:
    return ExportSource(
        model_name=version.model_name,
        model_version=version.model_version,
        model_uri=version.model_uri,
        bundle_digest=version.bundle_digest,
        bundle_path=str(model.bundle_path),
        manifest=manifest,
        model=model,
        predictions_path=str(measured.predictions_path),
    )
