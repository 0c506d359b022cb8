"""Who approves a move: the policy, the command line's flags, or a person who fills in a form in the Prefect UI."""

from prefect import get_run_logger
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment
from pydantic import Field

from flows.environment_config import PolicyConfig
from tasks.errors import RequestError
from tasks.promote.moves import Approval, PlannedMove
from tasks.promote.records import VersionComparison
from tasks.tracking.registry import POLICY

ASK_EVERY_SECONDS = 2


class ApprovalForm(RunInput):
    """What a person says in the Prefect UI."""

    approve: bool = Field(default=False, description="On: the version is moved. Off: nothing is moved.")
    who: str = Field(default="", max_length=200, description="Your name.")
    why: str = Field(default="", max_length=1000, description="Your reason.")


def require_approver(policy: PolicyConfig, approved_by: str, environment: str) -> None:
    """Refuse, before any work is done, what nobody could approve.

    Raises:
        RequestError: when a person must approve, none is named, and no form can be shown.
    """
    if policy.approval == "person" and not approved_by.strip() and not _can_ask():
        raise RequestError(
            f"a person must approve what goes to {environment}: name one with --approved-by WHO --reason WHY"
        )


def decided(
    planned: PlannedMove, compared: VersionComparison, policy: PolicyConfig, approved_by: str, reason: str
) -> Approval:
    """Return who decided and how; in a deployed run that needs a person it waits for the form, and time-out rejects."""
    needs_person = policy.approval == "person" or bool(compared.needs_person)
    if approved_by.strip():
        return Approval(approved=True, who=approved_by.strip(), why=reason)
    if not needs_person:
        return Approval(approved=True, who=POLICY, why=reason or f"{planned.environment} is approved by its policy")
    if not _can_ask():
        return Approval(
            approved=False, who=POLICY, why=f"{compared.needs_person}; name who approves it with --approved-by WHO"
        )
    return _asked(planned, compared, policy.approval_minutes)


def _can_ask() -> bool:
    return bool(deployment.id)


def _asked(planned: PlannedMove, compared: VersionComparison, minutes: float) -> Approval:
    what = f"{planned.to_uri} to {planned.environment}"
    get_run_logger().info("%s waits for approval: resume this run with the form", what)
    form = ApprovalForm.with_initial_data(
        description=f"{what}: {compared.sentence} The run's artifacts show the evidence."
    )
    try:
        said = pause_flow_run(wait_for_input=form, timeout=int(minutes * 60), poll_interval=ASK_EVERY_SECONDS)
    except FlowPauseTimeout:
        return Approval(approved=False, who=POLICY, why=f"nobody approved within {minutes:g} minutes")
    if said.approve and not said.who.strip():
        return Approval(approved=False, who=POLICY, why="the approval has no name")
    return Approval(approved=said.approve, who=said.who.strip() or "somebody", why=said.why)
