"""PostgreSQL of a site: its cluster, and a database for each service."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from deployments.site.programs import postgresql_program, privileges
from deployments.site.secrets import FILE_NAME, OVERRIDE_PREFIX, POSTGRESQL_PASSWORD, USER
from flows.up_config import UpConfig
from tasks.errors import EnvironmentFailed, last_line

PREFECT, MLFLOW, MLFLOW_LOGINS, KEENEYE = "prefect", "mlflow", "mlflow_logins", "keeneye"
DEFAULT_PERMISSION = "NO_PERMISSIONS"
"""Of an MLflow user on what nobody granted."""
LOGIN_CACHE_SECONDS = 300
"""For so long a password that was right is not hashed again, which takes a tenth of a second, thrice in a request.

MLflow forgets it at once when the password changes or the user goes, and one process serves all requests.
"""
_HOST_RULE = "host all all all scram-sha-256"


def address(config: UpConfig, database: str, driver: str) -> str:
    """Return a database's address, without the password: drivers take that from `PGPASSWORD`."""
    return f"{driver}://{USER}@{config.host('postgresql')}:{config.ports.postgresql}/{database}"


def make_cluster(folder: Path, password: str, user: pwd.struct_passwd | None, *, for_others: bool) -> None:
    """Make an empty cluster whose one user has a password; one that is there keeps what it holds.

    Args:
        folder: the cluster's.
        password: the user's in a new cluster.
        user: the system user whose cluster it is; None means this process's own.
        for_others: whether other machines may ask with the password too, which `initdb` does not allow.

    Raises:
        EnvironmentFailed: when `initdb` fails, or there is something else in the folder.
    """
    if not (folder / "PG_VERSION").is_file():
        _initialise(folder, password, user)
    if for_others:
        _let_others_in(folder / "pg_hba.conf")


def _initialise(folder: Path, password: str, user: pwd.struct_passwd | None) -> None:
    """Make the cluster beside its place, which it takes when it is whole: `initdb` may be killed half-way."""
    draft = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", prefix="keeneye-") as stream:  # mode 0600
        stream.write(password)
        stream.flush()
        if user:
            for path in (draft, Path(stream.name)):
                os.chown(path, user.pw_uid, user.pw_gid)
        command = [postgresql_program("initdb"), "-D", str(draft), "-U", USER, f"--pwfile={stream.name}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        as_user = privileges(user.pw_uid if user else None)
        made = subprocess.run(command, capture_output=True, text=True, check=False, **as_user)
    if made.returncode:
        raise EnvironmentFailed(
            f"PostgreSQL's initdb failed in {draft}: {last_line(made.stderr)}; mend that, and start again"
        )
    try:
        draft.rename(folder)
    except OSError as error:  # an empty folder is no obstacle
        raise EnvironmentFailed(
            f"{folder} holds no whole cluster, and cannot be replaced by one ({error.strerror}); move it away, and "
            "start again"
        ) from error


def _let_others_in(rules: Path) -> None:
    if _HOST_RULE not in rules.read_text(encoding="utf-8").splitlines():
        with rules.open("a", encoding="utf-8") as stream:  # it stays its owner's, who may be another user
            stream.write(f"{_HOST_RULE}\n")


def make_databases(server: str, password: str) -> None:
    """Make the services' databases; those that are there stay.

    Raises:
        EnvironmentFailed: when PostgreSQL does not take the password, or no connection at all.
    """
    import psycopg

    try:
        connection = psycopg.connect(server, password=password, autocommit=True)
    except psycopg.OperationalError as error:
        raise EnvironmentFailed(
            f"PostgreSQL at {server} takes no connection: {last_line(str(error))}; its password is "
            f"that of its first start, in {FILE_NAME} or {OVERRIDE_PREFIX}{POSTGRESQL_PASSWORD}"
        ) from None
    with connection:
        there = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for name in (PREFECT, MLFLOW, MLFLOW_LOGINS, KEENEYE):
            if name not in there:
                connection.execute(f"CREATE DATABASE {name}")


def write_mlflow_login(path: Path, config: UpConfig) -> None:
    """Write where MLflow keeps its users; it takes that from no variable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        "[mlflow]",
        f"default_permission = {DEFAULT_PERMISSION}",
        f"database_uri = {address(config, MLFLOW_LOGINS, 'postgresql+psycopg')}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        f"auth_cache_ttl_seconds = {LOGIN_CACHE_SECONDS}",
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
