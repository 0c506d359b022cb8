"""The secret block by which runs have the object store's key: the role `ingest`, which reads images and writes results.

`keeneye provision` makes it where the environment has that key. A run takes it whose worker has no key of its own, as
one on another machine: so the key stands in no parameter, and in no file there.
"""

import json
import os
from collections.abc import Mapping, MutableMapping

from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from flows.run_processes import RUN_VARIABLE
from tasks.stores.role_keys import ROLE_SECRETS, RUNS_ROLE, STORE_ADDRESS, STORE_KEY_ID, STORE_REGION, key_of_role

BLOCK = f"keeneye-store-{RUNS_ROLE}"
PROFILE = "AWS_PROFILE"
_PLACE = (STORE_ADDRESS, STORE_REGION)


def wanted_value(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what the block is to hold, by variables: the role's key, and where the store is; empty without a key."""
    if not environment.get(ROLE_SECRETS[RUNS_ROLE]):
        return {}
    place = {name: environment[name] for name in _PLACE if environment.get(name)}
    return {**place, **key_of_role(RUNS_ROLE, environment)}


def has_block(client: SyncPrefectClient, value: Mapping[str, str]) -> bool:
    """Whether the server's block holds just this."""
    return _held(client) == value


def save_block(value: Mapping[str, str]) -> None:
    """Make the block, or renew what it holds."""
    # As one text: of a dictionary the server shows each value to whoever lists its blocks.
    Secret(value=json.dumps(value)).save(BLOCK, overwrite=True)


def take_store_key(client: SyncPrefectClient, environment: MutableMapping[str, str] = os.environ) -> None:
    """Give this process what the block holds, if it is a run of a worker without a key. An address it has stays."""
    if RUN_VARIABLE not in environment or environment.get(STORE_KEY_ID) or environment.get(PROFILE):
        return
    named = {name: environment[name] for name in _PLACE if environment.get(name)}
    environment.update({**_held(client), **named})


def _held(client: SyncPrefectClient) -> dict[str, str]:
    try:
        document = client.read_block_document_by_name(BLOCK, "secret", include_secrets=True)
        held = json.loads(document.data["value"])
    except (ObjectNotFound, TypeError, ValueError):  # none is there, or somebody wrote something else
        return {}
    return {str(name): str(value) for name, value in held.items()} if isinstance(held, dict) else {}
