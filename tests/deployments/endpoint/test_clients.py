"""Unmodified clients of the managed service, each in a process of its own; only their environment is changed."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from tests.conftest import reap
from tests.deployments.endpoint.served import DENT, PICTURE, address_of, environment_of
from tests.object_store import running_object_store

CLIENTS = Path(__file__).with_name("clients")
MODEL, OTHER_MODEL = "dents", "colours"
REGION, ACCOUNT = "eu-central-1", "123456789012"
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "client-one", "client-secret-client-secret"
OBJECT_KEY = "photos/dent.png"
CONFIDENCE, CONFIDENCE_OF_PRODUCTION = 70.0, 90.0
INSTALL_SECONDS = 180


@dataclass(frozen=True)
class Reached:
    """A running `keeneye serve`: the environment in which a client reaches it, an image, and what it writes."""

    environment: dict
    image: Path
    bucket: str
    log: Path


@pytest.fixture(scope="module")
def reached(served_home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    image = folder / "dent.png"
    image.write_bytes(PICTURE)
    with (
        running_object_store(tmp_path_factory.mktemp("weed")) as store,
        serving(served_home, folder, store.environment) as (address, log),
    ):
        store.put(OBJECT_KEY, PICTURE)
        own = {
            "AWS_ENDPOINT_URL_REKOGNITION": address,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
        nobody_elses = {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield Reached(environment_of(served_home) | own | nobody_elses, image, store.bucket, log)


@contextlib.contextmanager
def serving(home, folder, environment):
    """Run `keeneye serve` with states of its own and one key for one model; gives its address and its log."""
    keys, log = folder / "keys.yaml", folder / "serve.log"
    item = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "projects": [MODEL]}
    keys.write_text(json.dumps([item]))
    keys.chmod(0o600)
    options = {
        "--port": "0",
        "--keys": str(keys),
        "--database": f"sqlite:///{folder / 'states.db'}",
        "--region": REGION,
        "--account": ACCOUNT,
    }
    command = [sys.executable, "-m", "flows", "serve", *(word for option in options.items() for word in option)]
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, env=environment_of(home) | environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield address_of(server, log), log
    finally:
        reap(server)


def run_client(reached, folder, *command, timeout=120, **environment):
    """Run a client to its end and return what it saw."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=reached.environment | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{done.stderr}\n{reached.log.read_text()}"
    return json.loads(done.stdout)


def install(folder, *command):
    """Run an installer; skips the test when the registry does not answer."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if done.returncode:
        pytest.skip(f"{command[0]} cannot install: {done.stderr.strip()[-300:]}")


def check_what_it_saw(saw):
    """The same for every client: a model's way from training to its stop, and the errors on the way."""
    project = f"arn:aws:rekognition:{REGION}:{ACCOUNT}:project/{MODEL}/"
    assert saw["project"].startswith(project)
    assert saw["version"].startswith(f"{project}version/2/")
    assert saw["status"] in {"TRAINING_COMPLETED", "STOPPED"}
    assert saw["before_start"] == saw["after_stop"] == "ResourceNotReadyException"
    assert (saw["start"], saw["stop"]) == ("STARTING", "STOPPING")
    assert saw["unknown"] == "ResourceNotFoundException"
    assert saw["bad_image"] == "InvalidImageFormatException"
    check_labels(saw["labels"], CONFIDENCE)
    check_labels(saw["best"], CONFIDENCE)
    check_labels(saw["labels_of_alias"], CONFIDENCE_OF_PRODUCTION)


def check_labels(labels, confidence):
    (label,) = labels
    assert label["Name"] == "dent"
    assert label["Confidence"] == pytest.approx(confidence, abs=0.01)
    box = label["Geometry"]["BoundingBox"]
    assert {side.lower(): ratio for side, ratio in box.items()} == pytest.approx(DENT, abs=1e-5)


def test_newest_boto3(reached, tmp_path):
    saw = run_client(
        reached,
        tmp_path,
        sys.executable,
        CLIENTS / "with_boto3.py",
        MODEL,
        reached.image,
        reached.bucket,
        OBJECT_KEY,
    )
    assert saw["client"] == boto3.__version__
    assert saw["paged"] == 1  # the key may not see the other model
    assert "Unable to get object metadata from S3" in saw["absent_object"]
    check_labels(saw["labels_of_object"], CONFIDENCE)
    check_what_it_saw(saw)


@pytest.fixture
def boto3_client(reached, monkeypatch):
    """Make a client in this process, from the environment that `reached` gives and what a test changes in it."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)

    def make(changed=()):
        for name, value in (reached.environment | dict(changed)).items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        return boto3.session.Session().client("rekognition")

    return make


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "another-secret-another"}, "InvalidSignatureException", id="secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "nobody"}, "UnrecognizedClientException", id="unknown key"),
        pytest.param({"AWS_DEFAULT_REGION": "us-east-1"}, "InvalidSignatureException", id="region"),
        pytest.param({"AWS_SESSION_TOKEN": "session"}, "UnrecognizedClientException", id="session token"),
    ],
)
def test_boto3_with_a_wrong_environment(reached, boto3_client, changed, code):
    client = boto3_client(changed)
    with pytest.raises(client.exceptions.ClientError) as refused:
        client.describe_projects()
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    written = written_with(reached.log, code)
    assert SECRET_ACCESS_KEY not in written
    assert "another-secret-another" not in written


def written_with(log, words, seconds=10):
    """What the endpoint has written once the words are in it: it writes after it has answered."""
    deadline = time.monotonic() + seconds
    while words not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert words in log.read_text()
    return log.read_text()


def test_key_of_one_project_may_not_use_another(reached, boto3_client):
    client = boto3_client()
    (own,) = client.describe_projects()["ProjectDescriptions"]
    assert f"/{MODEL}/" in own["ProjectArn"]
    other = f"arn:aws:rekognition:{REGION}:{ACCOUNT}:project/{OTHER_MODEL}/version/staging/1"
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.detect_custom_labels(ProjectVersionArn=other, Image={"Bytes": reached.image.read_bytes()})


@pytest.fixture(scope="module")
def uv():
    found = shutil.which("uv")
    if not found:
        pytest.skip("uv is not installed; it makes an environment per client")
    return found


@pytest.mark.slow
def test_older_boto3(reached, tmp_path, uv):
    command = (uv, "run", "--no-project", "--python", sys.executable, "--with", "boto3==1.34.*")
    install(tmp_path, *command, "python", "-c", "import boto3")
    saw = run_client(
        reached,
        tmp_path,
        *(*command, "python", CLIENTS / "with_boto3.py", MODEL, reached.image, reached.bucket, OBJECT_KEY),
    )
    assert saw["client"].startswith("1.34.")
    check_labels(saw["labels_of_object"], CONFIDENCE)
    check_what_it_saw(saw)


@pytest.mark.slow
def test_aws_command_line(reached, tmp_path, uv):
    command = (uv, "tool", "run", "--from", "awscli>=1.40", "aws")
    install(tmp_path, *command, "--version")
    saw = run_client(reached, tmp_path, CLIENTS / "with_aws_cli.sh", MODEL, reached.image, AWS=" ".join(command))
    assert saw["client"].startswith("aws-cli/")
    check_what_it_saw(saw)


@pytest.mark.slow
def test_javascript(reached, tmp_path):
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    packages = ("--no-audit", "--no-fund", "--prefer-offline", "@aws-sdk/client-rekognition@3")
    install(tmp_path, "npm", "install", "--prefix", str(tmp_path), *packages)
    saw = run_client(reached, tmp_path, "node", CLIENTS / "with_javascript.mjs", MODEL, reached.image)
    assert saw["client"].startswith("3.")
    assert saw["created"] is True
    check_what_it_saw(saw)
