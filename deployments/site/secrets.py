"""A site's secrets: made once, kept in a file that only its owner can read, never on a command line.

`KEENEYE_SITE_` and a secret's name in the environment goes before the file, so that a site may take its secrets from
elsewhere; the names alone belong to the shell's own user, whose everyday keys are not the site's.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from tasks.errors import RequestError
from tasks.stores.content import write_atomically
from tasks.stores.role_keys import ROLE_SECRETS, STORE_KEY_ID, STORE_SECRET
from tasks.tracking.role_passwords import PASSWORDS

FILE_NAME = "secrets.env"
OVERRIDE_PREFIX = "KEENEYE_SITE_"
SECRET_BYTES = 24
USER = "keeneye"
"""Of PostgreSQL, the object store, Prefect and MLflow."""
POSTGRESQL_PASSWORD = "PGPASSWORD"  # noqa: S105 - these are names of variables
PREFECT_LOGIN = "PREFECT_API_AUTH_STRING"
MLFLOW_USER, MLFLOW_PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
MLFLOW_SESSION_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"
ENDPOINT_KEY_ID, ENDPOINT_SECRET = "KEENEYE_ACCESS_KEY_ID", "KEENEYE_SECRET_ACCESS_KEY"


def site_secrets(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return all secrets of a site by the variables that carry them, made at the first call.

    Args:
        folder: the site's data.
        environment: what of it carries a secret's name after `OVERRIDE_PREFIX` is taken instead, and not kept.

    Raises:
        RequestError: when other users can read the file, or it lacks something.
    """
    path = folder / FILE_NAME
    _make_once(path)
    return {**_read(path), **_given(environment)}


def made_secrets() -> dict[str, str]:
    """Return new secrets by their variables."""
    return {
        POSTGRESQL_PASSWORD: secrets.token_hex(SECRET_BYTES),
        STORE_KEY_ID: USER,
        STORE_SECRET: secrets.token_hex(SECRET_BYTES),
        **{name: secrets.token_hex(SECRET_BYTES) for name in ROLE_SECRETS.values()},
        PREFECT_LOGIN: f"{USER}:{secrets.token_hex(SECRET_BYTES)}",
        MLFLOW_USER: USER,
        MLFLOW_PASSWORD: secrets.token_hex(SECRET_BYTES),
        MLFLOW_SESSION_KEY: secrets.token_hex(SECRET_BYTES),
        **{name: secrets.token_hex(SECRET_BYTES) for name in PASSWORDS.values()},
        ENDPOINT_KEY_ID: USER,
        ENDPOINT_SECRET: secrets.token_hex(SECRET_BYTES),
    }


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    given = {name: environment.get(f"{OVERRIDE_PREFIX}{name}", "") for name in made_secrets()}
    return {name: value for name, value in given.items() if value}


def _make_once(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # of two processes that start at once the second finds the first one's file
        if not path.exists():
            write_atomically(path, "".join(f"{name}={value}\n" for name, value in made_secrets().items()), mode=0o600)
    finally:
        os.close(folder)


def _read(path: Path) -> dict[str, str]:
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise RequestError(f"{path} is open to other users; run `chmod 600 {path}`, and change the secrets in it")
    lines = path.read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    missing = [name for name in made_secrets() if not values.get(name)]
    if missing:
        raise RequestError(f"{path} has no {missing[0]}; add a line {missing[0]}=... to it")
    return values
