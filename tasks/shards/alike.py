"""Whether a worker is like the process that asks: the same programs, and the same folder of results.

A worker with other versions would answer a little differently, and one that sees another folder at the same path would
leave its results where nobody finds them. Each shard asks, for workers come and go; a worker answers once per run.
"""

import platform
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.errors import EnvironmentFailed

PACKAGES = ("keeneye", "numpy", "onnxruntime", "opencv-python-headless", "pillow")
"""Those that shape what a shard gives."""
MARKS_FOLDER = "shared"


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a worker must have.

    Attributes:
        mark: a file that lies in the content store while shards are carried out.
        versions: of Python and `PACKAGES`, by name.
    """

    mark: str
    versions: tuple[tuple[str, str], ...]

    def require(self) -> None:
        """Refuse to work where something is missing or other.

        Raises:
            EnvironmentFailed: when it is.
        """
        _require(self)


@contextmanager
def shared_mark(store: Path) -> Iterator[Path]:
    """Give a file below the content store that only who shares the folder sees."""
    folder = store / MARKS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f"{socket.gethostname()}-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def own_likeness(mark: Path) -> Likeness:
    """Return what a worker must have to be like this process."""
    return Likeness(str(mark), _own_versions())


@lru_cache(16)
def _require(wanted: Likeness) -> None:
    here = socket.gethostname()
    for (name, theirs), (_, own) in zip(wanted.versions, _own_versions(), strict=True):
        if theirs != own:
            raise EnvironmentFailed(
                f"a Dask worker on {here} has {name} {own or '(none)'}, this run has {theirs}; give both the same "
                "versions, so that they give the same results"
            )
    if not Path(wanted.mark).is_file():
        raise EnvironmentFailed(
            f"a Dask worker on {here} does not see {Path(wanted.mark).parents[1]}; mount the folder of KEENEYE_HOME "
            "there at the same path"
        )


@lru_cache(1)
def _own_versions() -> tuple[tuple[str, str], ...]:
    python = ".".join(platform.python_version_tuple()[:2])
    return (("python", python), *((name, _version(name)) for name in PACKAGES))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
