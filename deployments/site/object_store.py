"""The object store of a site: SeaweedFS in one process, with one administrator's key."""

import json
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from deployments.site.closed_door import make_closed_door
from deployments.site.secrets import SECRET_BYTES, USER
from flows.up_config import UpConfig
from tasks.stores import s3_buckets
from tasks.stores.content import write_atomically
from tasks.stores.role_keys import STORE_KEY_ID, STORE_SECRET, key_of_role
from tasks.stores.s3 import make_client

KEYS_FILE = "s3.json"
SECURITY_FILE = "security.toml"
"""Read by `weed` from the folder that it works in."""
ROLES = {
    "ingest": ("Read:{bucket}", "List:{bucket}", "Write:{bucket}/truth/*", "Write:{bucket}/answers/*"),
    "train": ("Read:{bucket}/mlflow/*", "List:{bucket}/mlflow/*", "Write:{bucket}/mlflow/*"),
    "serve": ("Read:{bucket}",),
}
"""What each role may do: the worker reads images and writes results, MLflow keeps artifacts, the endpoint reads."""
MAX_VOLUME_MEGABYTES = 1024
_SIGNED = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
"""What the parts ask each other a signature for; without the third anybody may give S3 a new administrator by gRPC."""
_PARTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")


def arguments(config: UpConfig, data: Path) -> tuple[str, ...]:
    """Return `weed`'s arguments: master, volumes, files and S3 in one process, of which S3 alone asks for keys.

    So only S3 listens where others may reach it, and its gRPC, which `write_keys` closes.
    """
    first = config.ports.object_store_first
    ports = [f"-{part}={first + place}" for place, part in enumerate(_PARTS)]
    off = ("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false")
    return (
        *("server", "-filer", "-s3", f"-dir={data}", f"-s3.config={data / KEYS_FILE}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.ip.bind={config.listen}"),
        *("-disableHttp", "-filer.disableHttp", *off),
        *(f"-master.volumeSizeLimitMB={MAX_VOLUME_MEGABYTES}", "-volume.max=0"),
        *(f"-s3.port={config.ports.object_store}", f"-s3.port.grpc={first + len(_PARTS)}", *ports),
    )


def write_keys(data: Path, bucket: str, secrets: Mapping[str, str]) -> None:
    """Write the keys of the administrator and of each role, and the parts' own, where only this user can read them."""
    identities = [_identity(USER, secrets, ["Admin", "Read", "Write", "List", "Tagging"])]
    for role, actions in ROLES.items():
        allowed = [action.format(bucket=bucket) for action in actions]
        identities.append(_identity(role, key_of_role(role, secrets), allowed))
    write_atomically(data / KEYS_FILE, json.dumps({"identities": identities}), mode=0o600)
    _close_grpc_of_s3(data)


def _close_grpc_of_s3(data: Path) -> None:
    # It listens where S3 does, and takes orders (to remove objects, among others) from whoever it lets in.
    door = make_closed_door()
    files = {"authority.pem": door.authority, "grpc.pem": door.certificate, "grpc.key": door.key}
    for name, content in files.items():
        write_atomically(data / name, content.decode(), mode=0o600)
    authority, certificate, key = (json.dumps(str(data / name)) for name in files)
    tls = f"[grpc]\nca = {authority}\n[grpc.s3]\ncert = {certificate}\nkey = {key}\n"
    write_atomically(data / SECURITY_FILE, tls + "".join(map(_new_signing_key, _SIGNED)), mode=0o600)


def _new_signing_key(section: str) -> str:
    return f'[{section}]\nkey = "{token_hex(SECRET_BYTES)}"\n'


def _identity(name: str, keys: Mapping[str, str], actions: list[str]) -> dict[str, Any]:
    credentials = {"accessKey": keys[STORE_KEY_ID], "secretKey": keys[STORE_SECRET]}
    return {"name": name, "credentials": [credentials], "actions": actions}


def make_bucket(config: UpConfig, keys: Mapping[str, str]) -> None:
    """Make the site's bucket; one that is there stays."""
    client = make_client(address(config), (keys[STORE_KEY_ID], keys[STORE_SECRET]))
    if not s3_buckets.has_bucket(client, config.bucket):
        s3_buckets.make_bucket(client, config.bucket)


def address(config: UpConfig) -> str:
    """Return the address of the store's S3."""
    return f"http://{config.host('object_store')}:{config.ports.object_store}"
