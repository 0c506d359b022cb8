"""`keeneye serve`: one process that listens, answers, and ends when what it was answering is answered."""

import gc
import logging
import os
import signal
import socket
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import uvicorn
from pydantic import BaseModel

from deployments.endpoint.app import LOOPBACK_HOSTS, make_app
from deployments.endpoint.catalogue import Catalogue
from deployments.endpoint.environment import EnvironmentProjects, EnvironmentRegistry, EnvironmentStates
from deployments.endpoint.http_protocol import BoundedHttpProtocol
from deployments.endpoint.keys import Keys
from deployments.endpoint.limits import BodyReader
from deployments.endpoint.metrics import Metrics
from deployments.endpoint.parts import Parts
from deployments.endpoint.readiness import Readiness
from flows.serve_config import ServeConfig
from flows.status import tell
from tasks.errors import EnvironmentFailed, RequestError
from tasks.serving.projects import Projects
from tasks.serving.service import PredictionService, ServiceLimits
from tasks.serving.states import VersionStates
from tasks.stores.home import Home
from tasks.stores.s3 import read_object
from tasks.tracking.environment_names import ENVIRONMENTS
from tasks.tracking.ledger import Ledger
from tasks.tracking.registry import RegisteredModel, Registry

STOP_SECONDS = 30
"""For what is being answered when the process is asked to end."""
IDLE_CONNECTION_SECONDS = 75
MAX_CONNECTIONS = 512
REGISTRY_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""Of MLflow's client, where the environment sets none: its own would hold a thread for two minutes, eight times."""
BACKLOG = 1024
MEGABYTE = 1_000_000


class ServeResult(BaseModel, frozen=True):
    """What an endpoint did until it was stopped."""

    status: Literal["stopped"] = "stopped"
    address: str
    requests: int
    seconds: float


def serve(config: ServeConfig) -> ServeResult:
    """Answer until SIGTERM or Ctrl-C, then finish what was admitted.

    Raises:
        RequestError: without keys, unless nobody needs any; for an address that is not this machine's.
        EnvironmentFailed: when the port is taken, or registry or database do not answer.
    """
    started = time.monotonic()
    _log_to_stderr()
    for name, value in REGISTRY_PATIENCE.items():
        os.environ.setdefault(name, value)
    keys = None if config.no_auth else _keys(config)
    with closing(_listener(config.host, config.port)) as listener:
        address = _address(listener)
        home = Home.from_environment()
        states, registry = _shown(config, home)
        parts = make_parts(config, keys, registry, states, Ledger(home.database_uri, patience_seconds=0))
        app = make_app(parts, hosts=() if keys is not None else (*LOOPBACK_HOSTS, config.host))
        server = uvicorn.Server(_uvicorn_config(app))
        found = _found(registry.models(), config.environment)
        _tell(f"{found}; listening on {address}{'' if keys is not None else ', without keys'}")
        gc.collect()
        gc.freeze()  # what was imported stays: looking through it time and again would take a fifth of a request's time
        _run(server, listener)
    return ServeResult(
        address=address,
        requests=server.server_state.total_requests,
        seconds=round(time.monotonic() - started, 1),
    )


def make_parts(
    config: ServeConfig, keys: Keys | None, registry: Registry, states: VersionStates, ledger: Ledger
) -> Parts:
    """Put the endpoint's parts together."""
    max_image_bytes = int(config.max_image_megabytes * MEGABYTE)
    limits = ServiceLimits(
        max_pending=config.max_pending,
        max_image_bytes=max_image_bytes,
        threads=config.threads,
        max_models=config.max_models,
        idle_seconds=config.idle_minutes * 60,
    )
    service = PredictionService(registry, states, limits)
    bodies = BodyReader(int(config.max_body_megabytes * MEGABYTE))
    environments = (config.environment,) if config.environment else ENVIRONMENTS
    projects = partial(EnvironmentProjects, config.environment) if config.environment else Projects
    catalogue = Catalogue(registry, states)
    return Parts(
        service=service,
        projects=projects(registry, states, service, region=config.region, account=config.account),
        catalogue=catalogue,
        bodies=bodies,
        metrics=Metrics(service.stats, lambda: bodies.held_bytes),
        readiness=Readiness(registry.models),
        keys=keys,
        region=config.region,
        max_image_bytes=max_image_bytes,
        read_object=read_object,
        status=partial(tell, registry, ledger, catalogue.metrics, environments=environments),
        environment=config.environment,
    )


def _shown(config: ServeConfig, home: Home) -> tuple[VersionStates, Registry]:
    database, environment = _database(config, home), config.environment
    if environment:
        return EnvironmentStates(database, environment), EnvironmentRegistry(home, environment)
    return VersionStates(database), Registry(home)


def _keys(config: ServeConfig) -> Keys:
    keys = Keys.read(Path(config.keys) if config.keys else None, os.environ)
    if not len(keys):
        hint = " or, since only this machine can reach it, --no-auth" if config.is_loopback else ""
        raise RequestError(f"no client could be answered: there are no keys; give --keys FILE{hint}")
    return keys


def _database(config: ServeConfig, home: Home) -> str:
    return config.database or home.database_uri


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except socket.gaierror:
        raise RequestError(f"there is no address {host!r}; give one of this machine, such as 127.0.0.1") from None
    except OSError as error:
        raise EnvironmentFailed(
            f"{host} port {port} cannot be listened on: {os.strerror(error.errno or 0)}; end what uses it, or give "
            "another --port"
        ) from None
    # Accepted connections inherit it. asyncio sets it only where the protocol is named, which create_server does not:
    # head and body of an answer then wait for each other, 40 ms a request (measured).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _uvicorn_config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # any ASGI application
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_CONNECTION_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn raises the signal anew at its end: with these handlers the process outlives it and exits with 0.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _found(models: list[RegisteredModel], environment: str) -> str:
    if not models:
        return f"nothing stands in {environment} yet" if environment else "no models yet"
    named = ", ".join(f"{model.name} ({_aliases(model)})" for model in models)
    return f"{len(models)} model{'s' if len(models) > 1 else ''}: {named}"


def _aliases(model: RegisteredModel) -> str:
    return ", ".join(f"{alias} -> {version}" for alias, version in sorted(model.aliases.items())) or "no alias"


def _tell(sentence: str) -> None:
    sys.stderr.write(f"keeneye: {sentence}\n")
    sys.stderr.flush()


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="keeneye: %(message)s", stream=sys.stderr)
    for name in ("deployments", "tasks"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
