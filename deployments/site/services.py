"""The services of a site, in one table: command, environment, port, health, and what each needs before it.

`keeneye up` runs it on one machine; in containers each runs one line of it (`deployments/compose.yaml`). No command
holds a secret: those are in environments and in files that only their owner reads.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

from deployments.site import databases, mlflow_users, object_store
from deployments.site.programs import object_store_program, postgresql_program, postgresql_user, require_mlflow_login
from deployments.site.secrets import (
    ENDPOINT_KEY_ID,
    ENDPOINT_SECRET,
    MLFLOW_PASSWORD,
    MLFLOW_SESSION_KEY,
    MLFLOW_USER,
    POSTGRESQL_PASSWORD,
    PREFECT_LOGIN,
)
from flows.host_config import is_loopback
from flows.provision_config import WORK_POOL
from flows.run_processes import LOG_VARIABLE, end_run_processes
from flows.up_config import ServiceName, UpConfig
from tasks.stores.home import DATABASE_VARIABLE, HOME_VARIABLE, TRACKING_VARIABLE
from tasks.stores.role_keys import RUNS_ROLE, STORE_ADDRESS, STORE_KEY_ID, STORE_REGION, STORE_SECRET, key_of_role
from tasks.stores.s3 import REGION

ROOT = Path(__file__).resolve().parents[2]
LOGS = "logs"
_INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "SSL_CERT_FILE", "TMPDIR", "TZ", "VIRTUAL_ENV")
"""What services take from the environment of `keeneye up`; anything else might change them unseen."""

_PATIENCE = {"PREFECT_CLIENT_RETRY_EXTRA_CODES": "500"}
"""Of Prefect's clients: while PostgreSQL is started again, its server answers 500 to some requests, 503 to others."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the site.

    Attributes:
        name: as in the request.
        command: program and arguments, without secrets.
        environment: all its variables but the few that it inherits.
        port: where others reach it.
        listen: address that it listens on, or one that means all of this machine's.
        health: address at which it answers when it is well.
        depends_on: what must answer before it starts, where that is started here too.
        prepare: makes what it needs on disk, before its start.
        complete: makes what others need of it, as soon as it answers.
        end: ends what of it lives on without it, when the site ends.
        user: id of the system user that it runs as; None means this process's own.
        stop_signal: what asks it to end.
    """

    name: ServiceName
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    port: int
    health: str
    depends_on: tuple[ServiceName, ...] = ()
    prepare: Callable[[], None] = lambda: None
    complete: Callable[[], None] = lambda: None
    end: Callable[[], object] = lambda: None
    user: int | None = None
    stop_signal: Signals = SIGTERM
    listen: str = "127.0.0.1"


def services_of(config: UpConfig, folder: Path, secrets: Mapping[str, str]) -> tuple[Service, ...]:
    """Return the services that a request asks for, in the order in which they start.

    Args:
        config: the request.
        folder: absolute, for the services' data.
        secrets: of `site_secrets`.

    Raises:
        RequestError: when a program that one of them needs is not installed.
    """
    makers = {
        "postgresql": _postgresql,
        "object-store": _object_store,
        "prefect": _prefect,
        "mlflow": _mlflow,
        "worker": _worker,
        "endpoint": _endpoint,
    }
    made = (make(config, folder, secrets) for name, make in makers.items() if name in (config.only or makers))
    return tuple(replace(service, listen=config.listen) for service in made)


def client_environment(config: UpConfig, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which flows and commands use the site, as its administrator."""
    return {
        **_data_environment(config, secrets),
        **_of(secrets, MLFLOW_USER, MLFLOW_PASSWORD, STORE_KEY_ID, STORE_SECRET, PREFECT_LOGIN),
        **_PATIENCE,
        "PREFECT_API_URL": _prefect_api(config),
    }


def _data_environment(config: UpConfig, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which models, states and images are found, without a key of store or MLflow."""
    return {
        **_of(secrets, POSTGRESQL_PASSWORD),
        **_store_environment(config),
        TRACKING_VARIABLE: _tracking(config),
        DATABASE_VARIABLE: databases.address(config, databases.KEENEYE, "postgresql+psycopg"),
    }


def _store_environment(config: UpConfig) -> dict[str, str]:
    return {STORE_ADDRESS: object_store.address(config), STORE_REGION: REGION}


def _tracking(config: UpConfig) -> str:
    return f"http://{config.host('mlflow')}:{config.ports.mlflow}"


def _prefect_api(config: UpConfig) -> str:
    return f"http://{config.host('prefect')}:{config.ports.prefect}/api"


def _postgresql(config: UpConfig, folder: Path, secrets: Mapping[str, str]) -> Service:
    user = postgresql_user(config.postgresql_user)
    data, port, password = folder / "postgresql", config.ports.postgresql, secrets[POSTGRESQL_PASSWORD]
    server = databases.address(config, "postgres", "postgresql")
    sockets = "-cunix_socket_directories="  # nobody needs one, and its path may be too long
    for_others = not is_loopback(config.listen)
    command = (postgresql_program("postgres"), "-D", str(data), "-h", config.listen, "-p", str(port), sockets)
    return Service(
        name="postgresql",
        command=command,
        environment=_inherited(),
        port=port,
        health=server,
        prepare=lambda: databases.make_cluster(data, password, user, for_others=for_others),
        complete=lambda: databases.make_databases(server, password),
        user=user.pw_uid if user else None,
        stop_signal=SIGINT,  # ends sessions, and writes out what is needed: its fast shutdown
    )


def _object_store(config: UpConfig, folder: Path, secrets: Mapping[str, str]) -> Service:
    data, port = folder / "object-store", config.ports.object_store
    keys = {name: secrets[name] for name in (STORE_KEY_ID, STORE_SECRET)}
    return Service(
        name="object-store",
        command=(object_store_program(), *object_store.arguments(config, data)),
        environment=_inherited(),
        port=port,
        health=f"{object_store.address(config)}/healthz",
        prepare=lambda: object_store.write_keys(data, config.bucket, secrets),
        complete=lambda: object_store.make_bucket(config, keys),
    )


def _prefect(config: UpConfig, folder: Path, secrets: Mapping[str, str]) -> Service:
    port = config.ports.prefect
    environment = {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": _prefect_api(config),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": databases.address(config, databases.PREFECT, "postgresql+asyncpg"),
        "PREFECT_SERVER_API_AUTH_STRING": secrets[PREFECT_LOGIN],
        # In memory, places in limits would be taken for ever that a server which is killed has lent.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        **_of(secrets, PREFECT_LOGIN, POSTGRESQL_PASSWORD),
    }
    return Service(
        name="prefect",
        command=_python("prefect", "server", "start", "--host", config.listen, "--port", str(port)),
        environment=_inherited() | environment,
        port=port,
        health=f"{_prefect_api(config)}/health",
        depends_on=("postgresql",),
    )


def _mlflow(config: UpConfig, folder: Path, secrets: Mapping[str, str]) -> Service:
    require_mlflow_login()
    port, host = config.ports.mlflow, config.host("mlflow")
    login_file = folder / "mlflow" / "login.ini"
    environment = {
        "MLFLOW_BACKEND_STORE_URI": databases.address(config, databases.MLFLOW, "postgresql+psycopg"),
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{config.bucket}/mlflow",
        "MLFLOW_AUTH_CONFIG_PATH": str(login_file),
        "MLFLOW_AUTH_ADMIN_USERNAME": secrets[MLFLOW_USER],
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets[MLFLOW_PASSWORD],
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # jobs are for language models, and cost seven processes
        **_store_environment(config),
        **key_of_role("train", secrets),
        **_of(secrets, MLFLOW_SESSION_KEY, POSTGRESQL_PASSWORD),
    }
    # MLflow answers only requests for names that it knows.
    names = ",".join(dict.fromkeys(f"{name}:{port}" for name in (host, "localhost", "127.0.0.1")))
    options = ("--host", config.listen, "--port", str(port), "--workers", "1", "--allowed-hosts", names)
    return Service(
        name="mlflow",
        command=_python("mlflow", "server", "--app-name", "basic-auth", *options),
        environment=_inherited() | environment,
        port=port,
        health=f"http://{host}:{port}/health",
        depends_on=("postgresql", "object-store"),
        prepare=lambda: databases.write_mlflow_login(login_file, config),
        complete=lambda: mlflow_users.make_users(_tracking(config), secrets),
    )


def _worker(config: UpConfig, folder: Path, secrets: Mapping[str, str]) -> Service:
    port, home = config.ports.worker, folder / "home"
    environment = {
        "PREFECT_HOME": str(folder / "worker"),
        "PREFECT_WORKER_WEBSERVER_HOST": config.listen,
        "PREFECT_WORKER_WEBSERVER_PORT": str(port),
        HOME_VARIABLE: str(home),
        LOG_VARIABLE: str(folder / LOGS / "worker.log"),
        **client_environment(config, secrets),
        **key_of_role(RUNS_ROLE, secrets),
        **mlflow_users.login(secrets, "train"),
    }
    options = ("--pool", WORK_POOL, "--type", "process", "--limit", str(config.runs), "--with-healthcheck")
    return Service(
        name="worker",
        command=_python("deployments.site.worker", *options),
        environment=_inherited() | environment,
        port=port,
        health=f"http://{config.reachable}:{port}/health",
        depends_on=("prefect", "mlflow"),
        prepare=lambda: mlflow_users.await_user(_tracking(config), secrets, "train", config.start_seconds),
        end=lambda: end_run_processes(home),
    )


def _endpoint(config: UpConfig, folder: Path, secrets: Mapping[str, str]) -> Service:
    port = config.ports.endpoint
    environment = {
        HOME_VARIABLE: str(folder / "home"),
        **_data_environment(config, secrets),
        **key_of_role("serve", secrets),
        **mlflow_users.login(secrets, "serve"),
        **_of(secrets, ENDPOINT_KEY_ID, ENDPOINT_SECRET),
    }
    return Service(
        name="endpoint",
        command=_python("flows", "serve", "--host", config.listen, "--port", str(port)),
        environment=_inherited() | environment,
        port=port,
        health=f"http://{config.reachable}:{port}/healthz",
        depends_on=("postgresql", "mlflow"),
        prepare=lambda: mlflow_users.await_user(_tracking(config), secrets, "serve", config.start_seconds),
    )


def _python(*module_and_arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *module_and_arguments)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _of(secrets: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: secrets[name] for name in names}
