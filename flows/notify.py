"""`keeneye notify`: the automation by which Prefect's server tells a webhook of runs that went wrong.

The webhook's address is often all that protects it: it comes from the environment and is kept in a secret block.
"""

import os
from typing import Any, Literal

import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.types import SecretDict
from pydantic import BaseModel, HttpUrl, SecretStr, TypeAdapter, ValidationError

from flows.arrival_events import server
from flows.environment_config import SHIPPED
from flows.watch_config import NotifyConfig
from tasks.errors import RequestError

URL_VARIABLE = "KEENEYE_NOTIFY_URL"
BLOCK = "keeneye-runs-that-went-wrong"
AUTOMATION_FILE = SHIPPED / "notifications.yaml"


class NotifyResult(BaseModel, frozen=True):
    """Whether somebody is told now; `block` and `automation` are their names on the Prefect server."""

    status: Literal["told", "removed"]
    block: str
    automation: str


def notify(config: NotifyConfig) -> NotifyResult:
    """Make, renew or remove the notification.

    Raises:
        RequestError: when the environment holds no address, or something that is none.
        EnvironmentFailed: when the server does not answer.
    """
    definition = yaml.safe_load(AUTOMATION_FILE.read_text(encoding="utf-8"))
    url = None if config.remove else _url()
    with server() as client:
        earlier = client.read_automations_by_name(definition["name"])
        # The new one first: when it cannot be made, runs are still told of as before.
        if url is not None:
            client.create_automation(_automation(definition, _save_block(url)))
        for old in earlier:
            client.delete_automation(old.id)
        if url is None:
            _forget_block(client)
    status: Literal["told", "removed"] = "removed" if url is None else "told"
    return NotifyResult(status=status, block=f"webhook/{BLOCK}", automation=definition["name"])


def _url() -> str:
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url:
        raise RequestError(f"{URL_VARIABLE} is not set; put the webhook's address there, not on the command line")
    try:
        TypeAdapter(HttpUrl).validate_python(url)
    except ValidationError:
        raise RequestError(f"{URL_VARIABLE} holds no http:// or https:// address") from None
    return url


def _save_block(url: str) -> str:
    headers = SecretDict({"Content-Type": "application/json"})
    saved = Webhook(url=SecretStr(url), headers=headers).save(BLOCK, overwrite=True)
    return str(saved)


def _forget_block(client: SyncPrefectClient) -> None:
    try:
        block = client.read_block_document_by_name(BLOCK, "webhook", include_secrets=False)
    except ObjectNotFound:
        return
    client.delete_block_document(block.id)


def _automation(definition: dict[str, Any], block_id: str) -> AutomationCore:
    ui = (get_current_settings().ui_url or "").rstrip("/")
    (action,) = definition["actions"]
    filled = action | {"block_document_id": block_id, "payload": action["payload"].replace("[[ui]]", ui)}
    return AutomationCore.model_validate(definition | {"actions": [filled]})
