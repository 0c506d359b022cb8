"""What the register stage tells the stages after it."""

from typing import Literal

from tasks.promote.records import VersionComparison
from tasks.stores.content import StageRecord

Status = Literal["candidate", "staged", "registered", "refused", "rejected"]


class RegisteredVersion(StageRecord, frozen=True):
    """A version in the model registry.

    Attributes:
        model_name: registered model.
        model_version: its version.
        model_uri: its `models:/` address.
        mlflow_run_id: the run it belongs to.
        run_key: identifies the request that registered it.
        bundle_digest: digest that the fetched bundle must have.
        status: `candidate` until its tests are done, then `staged`, `registered` or `rejected`. In the registry what
            only staging refused is `refused`.
        reasons: why it was rejected, waits for a person, or lost to another move.
        aliases: aliases that point to it.
        replaced: number of the version that stood in staging before it; empty when none did.
        comparison: with that version; None when it was not to be staged.
    """

    model_name: str
    model_version: str
    model_uri: str
    mlflow_run_id: str
    run_key: str
    bundle_digest: str
    status: Status
    reasons: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    replaced: str = ""
    comparison: VersionComparison | None = None
