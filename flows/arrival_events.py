"""The event that says images have arrived. Watched folders and webhooks send it; automations start runs of it.

Posted rather than given to Prefect's `emit_event`, which returns before the server has it and never says if it did.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.filters import EventFilter, EventIDFilter
from prefect.events.schemas.automations import Automation, EventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from tasks.errors import EnvironmentFailed, RequestError
from tasks.ingest.arrivals import Batch

EVENT = "keeneye.images.arrived"
DEPLOYMENT_LABEL = "keeneye.deployment"
"""The label by which a deployment's automation knows the events that are for it."""


def require_trigger(deployment: str) -> None:
    """See that an event would start something.

    Raises:
        RequestError: when the server has no such deployment, or no automation of it is switched on for the event.
        EnvironmentFailed: when the server does not answer.
    """
    with server() as client:
        try:
            known = client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            raise RequestError(
                f"the Prefect server has no deployment {deployment}; `prefect deployment ls` lists what it has"
            ) from None
        automations = client.read_resource_related_automations(f"prefect.deployment.{known.id}")
    if not any(map(_is_started_by_arrivals, automations)):
        raise RequestError(
            f"nothing starts {deployment} when images arrive: give it the trigger that prefect.yaml has for "
            "predict/predictions and deploy it, or switch its automation on in the Prefect UI"
        )


def send_arrival(batch: Batch, folder: Path, deployment: str) -> None:
    """Send a batch's event; once this returns the server has it.

    Raises:
        EnvironmentFailed: when the server does not answer, or refuses it.
    """
    event = {
        "id": batch.event_id,
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {
            "prefect.resource.id": f"keeneye.folder.{folder}",
            "prefect.resource.name": folder.name,
            DEPLOYMENT_LABEL: deployment,
        },
        "payload": {"folder": str(folder), "source": batch.manifest, "images": len(batch.stamps)},
    }
    with server() as client:
        client.request("POST", "/events", json=[event]).raise_for_status()


def was_sent(batch: Batch) -> bool:
    """Return whether the server has a batch's event.

    Raises:
        EnvironmentFailed: when the server does not answer.
    """
    with server() as client:
        wanted = EventFilter(id=EventIDFilter(id=[UUID(batch.event_id)]))
        return bool(client.read_events(wanted, limit=1).events)


@contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """Give a client of the Prefect server that the settings name.

    Raises:
        RequestError: when they name none: automations need one that stays.
        EnvironmentFailed: when it does not answer as it should.
    """
    address = get_current_settings().api.url
    if not address:
        raise RequestError("this needs a Prefect server that stays: start one, and name it in PREFECT_API_URL")
    try:
        with get_client(sync_client=True) as client:
            yield client
    except (httpx.HTTPError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EnvironmentFailed(f"the Prefect server at {address} does not answer as it should: {reason}") from error


def _is_started_by_arrivals(automation: Automation) -> bool:
    trigger = automation.trigger
    return automation.enabled and isinstance(trigger, EventTrigger) and EVENT in trigger.expect
