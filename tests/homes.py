"""Homes of tests, each with an MLflow database that is ready: its tables take five seconds to make."""

import functools
import tempfile
from pathlib import Path

from tasks.stores.home import Home
from tasks.tracking.client import connect


def new_home(root: Path) -> Home:
    """Return a home with an MLflow of its own, in which nothing was recorded yet."""
    home = home_at(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / "mlflow.db").write_bytes(_empty_database())
    return home


def home_at(root: Path) -> Home:
    """Return the home at `root` whose MLflow is in its own folder, as the environment gives it by default."""
    address = f"sqlite:///{root / 'mlflow.db'}"
    return Home(root, address, address)


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        home = home_at(Path(folder))
        connect(home)
        return (home.root / "mlflow.db").read_bytes()
