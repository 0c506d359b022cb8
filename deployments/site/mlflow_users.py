"""MLflow's users of a site: the worker comes as `train`, the endpoint as `serve`; nobody else needs the administrator.

They are made as soon as MLflow answers, by a process of its own: what talks to MLflow imports all of its server.
"""

import base64
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus

from deployments.site.secrets import MLFLOW_PASSWORD, MLFLOW_USER
from tasks.errors import EnvironmentFailed, last_line
from tasks.stores.home import TRACKING_VARIABLE, Home
from tasks.tracking.role_passwords import PASSWORDS

_SECONDS = 300
_PAUSE_SECONDS = 1.0


def login(secrets: Mapping[str, str], role: str) -> dict[str, str]:
    """Return the variables by which a client of MLflow is the user of a role."""
    return {MLFLOW_USER: role, MLFLOW_PASSWORD: secrets[PASSWORDS[role]]}


def make_users(address: str, secrets: Mapping[str, str]) -> None:
    """Make the users of all roles; those that get in stay as they are.

    Raises:
        EnvironmentFailed: when MLflow does not let them be made.
    """
    if all(_gets_in(address, role, secrets[variable]) for role, variable in PASSWORDS.items()):
        return
    names = (MLFLOW_USER, MLFLOW_PASSWORD, *PASSWORDS.values())
    environment = {**os.environ, TRACKING_VARIABLE: address, **{name: secrets[name] for name in names}}
    command = [sys.executable, "-m", "deployments.site.mlflow_users"]
    try:
        made = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False, umask=0o077
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentFailed(
            f"MLflow at {address} has not made its users within {_SECONDS} s; see its log, and start again"
        ) from None
    if made.returncode:
        raise EnvironmentFailed(
            f"MLflow's users cannot be made: {last_line(made.stderr)}; see its log, and start again"
        )


def await_user(address: str, secrets: Mapping[str, str], role: str, seconds: float) -> None:
    """Wait while MLflow answers and refuses a role: where services are containers, its users come after it is well.

    Raises:
        EnvironmentFailed: when it still refuses after that many seconds.
    """
    deadline = time.monotonic() + seconds
    while _status(address, role, secrets[PASSWORDS[role]]) == HTTPStatus.UNAUTHORIZED:
        if time.monotonic() > deadline:
            raise EnvironmentFailed(
                f"MLflow at {address} refuses its user {role!r}; see its log, and that all services have the same data"
            )
        time.sleep(_PAUSE_SECONDS)


def _gets_in(address: str, user: str, password: str) -> bool:
    return _status(address, user, password) == HTTPStatus.OK


def _status(address: str, user: str, password: str) -> int:
    """Return the status of an answer; 0 without one."""
    shown = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 - our own address
        f"{address}/api/2.0/mlflow/users/current", headers={"Authorization": f"Basic {shown}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _main() -> None:
    from tasks.tracking.provisioning import Roles

    roles = Roles.of_environment(Home.from_environment())
    for role in roles.names:
        if not roles.is_there(role):
            roles.make(role)


if __name__ == "__main__":
    _main()
