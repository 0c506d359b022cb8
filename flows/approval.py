"""Who approves a move: the policy, the command line's flags, or a person who fills in a form in the Prefect UI."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Timer
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run, resume_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from pydantic import Field

from flows.environment_config import PolicyConfig
from tasks.errors import RequestError
from tasks.promote.moves import Approval, PlannedMove
from tasks.promote.records import MoveEvidence
from tasks.tracking.registry import POLICY

ASK_EVERY_SECONDS = 2
GRACE_SECONDS = 60
"""For the run to see that its time is over, before Prefect itself gives it up."""


class ApprovalForm(RunInput):
    """What a person says in the Prefect UI."""

    approve: bool = Field(default=False, description="On: the version is moved. Off: nothing is moved.")
    who: str = Field(default="", max_length=200, description="Your name.")
    why: str = Field(default="", max_length=1000, description="Your reason.")


def require_approver(policy: PolicyConfig, approved_by: str, reason: str, environment: str) -> None:
    """Refuse, before any work is done, what nobody could approve.

    Raises:
        RequestError: when a person must approve, none is named with a reason, and no form can be shown.
    """
    if approved_by.strip() or not _can_ask():
        require_name(policy, approved_by, reason, environment)


def require_name(policy: PolicyConfig, approved_by: str, reason: str, environment: str) -> None:
    """Refuse a move without a name and a reason where a person must answer for it.

    Raises:
        RequestError: when one of them is missing.
    """
    if policy.approval == "person" and not (approved_by.strip() and reason.strip()):
        raise RequestError(
            f"a person must approve what goes to {environment}, and say why: add --approved-by WHO --reason WHY"
        )


def decided(
    planned: PlannedMove, evidence: MoveEvidence, policy: PolicyConfig, approved_by: str, reason: str
) -> Approval:
    """Return who decided and how; in a deployed run that needs a person it waits for the form, and time-out rejects.

    Nobody is asked for what the evidence refuses.
    """
    why_person = _why_person(planned, evidence, policy)
    if approved_by.strip():
        return Approval(approved=True, who=approved_by.strip(), why=reason)
    if evidence.reasons:
        return Approval(approved=False, who=POLICY, why="the evidence speaks against it")
    if not why_person:
        return Approval(approved=True, who=POLICY, why=reason or f"{planned.environment} is approved by its policy")
    if not _can_ask():
        return Approval(
            approved=False,
            who=POLICY,
            why=f"{why_person}; to approve it: keeneye promote {planned.model_name} --to {planned.environment} "
            f"--version {planned.to_version} --approved-by WHO --reason WHY",
            waits_for_person=True,
        )
    return _asked(planned, evidence, policy.approval_minutes)


def _why_person(planned: PlannedMove, evidence: MoveEvidence, policy: PolicyConfig) -> str:
    if evidence.comparison and evidence.comparison.asks_person:
        return evidence.comparison.needs_person
    return f"a person must approve what goes to {planned.environment}" if policy.approval == "person" else ""


def _can_ask() -> bool:
    return bool(deployment.id)


def _asked(planned: PlannedMove, evidence: MoveEvidence, minutes: float) -> Approval:
    compared = evidence.comparison.sentence if evidence.comparison else ""
    what = f"{planned.to_uri} to {planned.environment}"
    get_run_logger().info("%s waits for approval: resume this run with the form", what)
    form = ApprovalForm.with_initial_data(description=f"{what}: {compared}. The run's artifacts show the evidence.")
    nobody = Approval(approved=False, who=POLICY, why=f"nobody approved within {minutes:g} minutes")
    try:
        with _answered_after(minutes * 60, nobody):
            said = pause_flow_run(
                wait_for_input=form, timeout=int(minutes * 60) + GRACE_SECONDS, poll_interval=ASK_EVERY_SECONDS
            )
    except FlowPauseTimeout:
        return nobody
    if said.approve and not (said.who.strip() and said.why.strip()):
        return Approval(approved=False, who=said.who.strip() or POLICY, why="the approval lacks a name or a reason")
    return Approval(approved=said.approve, who=said.who.strip() or "somebody", why=said.why)


@contextmanager
def _answered_after(seconds: float, answer: Approval) -> Iterator[None]:
    """Fill in the form when nobody else has: Prefect would call a run that paused too long failed, and not rejected."""
    said = {"approve": answer.approved, "who": answer.who, "why": answer.why}
    # The context holds which server is meant, and a new thread has none.
    timer = Timer(seconds, copy_context().run, (_resume, UUID(str(flow_run.id)), said))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _resume(run: UUID, said: dict[str, Any]) -> None:
    try:
        resume_flow_run(run, run_input=said)
    except Exception as error:  # a person was faster, or the server is away: then the pause itself ends in time
        get_run_logger().info("the form was not filled in for want of an answer: %s", error)
