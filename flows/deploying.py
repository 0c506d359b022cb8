"""The deployments of prefect.yaml on a server: whether they are there as they stand in the file, and put there."""

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from tasks.errors import EnvironmentFailed, last_line
from tasks.stores.content import digest_of

ROOT = Path(__file__).resolve().parents[1]
TESTS_STEP = "tests"
MAX_SECONDS = 600


def deployment_names() -> list[str]:
    """Return the names of all deployments, as FLOW/NAME."""
    return [_full_name(deployment) for deployment in _file()["deployments"]]


def are_deployed(client: SyncPrefectClient) -> bool:
    """Whether the server has every deployment as it stands in the file: each carries its digest as its version."""
    return all(_version_on(client, _full_name(one)) == _version(one) for one in _file()["deployments"])


def deploy_all() -> None:
    """Deploy them all, without the tests that `prefect deploy` runs first for people who changed something.

    Raises:
        EnvironmentFailed: when the server does not take them.
    """
    content = _file()
    build = [named for named in content["build"] if all(step["id"] != TESTS_STEP for step in named.values())]
    deployments = [{**one, "version": _version(one)} for one in content["deployments"]]
    with tempfile.TemporaryDirectory(prefix="keeneye-deploy-") as folder:
        path = Path(folder) / "prefect.yaml"
        path.write_text(yaml.safe_dump({**content, "build": build, "deployments": deployments}), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(path)]
        done = _run(command)
    if done.returncode:
        raise EnvironmentFailed(
            f"prefect deploy failed: {last_line(done.stdout + done.stderr)}; see whether the server is well, and "
            "provision again"
        )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MAX_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EnvironmentFailed(
            f"prefect deploy took more than {MAX_SECONDS} s; see whether the server is well, and provision again"
        ) from None


@cache
def _file() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return content


def _full_name(deployment: dict[str, Any]) -> str:
    # Flows are named like their functions, with dashes.
    function = str(deployment["entrypoint"]).rpartition(":")[2]
    return f"{function.replace('_', '-')}/{deployment['name']}"


def _version(deployment: dict[str, Any]) -> str:
    return digest_of([deployment, _file()["pull"], str(ROOT)])[:16]


def _version_on(client: SyncPrefectClient, name: str) -> str:
    try:
        return str(client.read_deployment_by_name(name).version or "")
    except ObjectNotFound:
        return ""
