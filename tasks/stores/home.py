"""Where one Keeneye keeps its things on this machine: a folder, and the addresses of MLflow."""

import fcntl
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tasks.dataset.versions import DatasetCatalogue
from tasks.stores.content import ContentStore

HOME_VARIABLE = "KEENEYE_HOME"
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
DATABASE_VARIABLE = "KEENEYE_DATABASE"
ARTIFACTS_VARIABLE = "KEENEYE_ARTIFACTS"
DEFAULT_HOME = ".keeneye"
ABANDONED_DAYS = 14
"""A checkpoint renews its folder's date, so this is counted from the last epoch."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds everything Keeneye makes, and the MLflow it reports to.

    Attributes:
        root: absolute; the content store, the dataset catalogue, reports and embedded databases are below it.
        tracking_uri: MLflow's tracking store; absolute, so that it means the same from every folder.
        registry_uri: MLflow's model registry.
    """

    root: Path
    tracking_uri: str
    registry_uri: str

    @classmethod
    def from_environment(cls) -> "Home":
        """Read `KEENEYE_HOME` (default `./.keeneye`), `MLFLOW_TRACKING_URI` and `MLFLOW_REGISTRY_URI`."""
        root = Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser().resolve()
        tracking_uri = _absolute(os.environ.get(TRACKING_VARIABLE) or f"sqlite:///{root / 'mlflow.db'}")
        return cls(root, tracking_uri, _absolute(os.environ.get(REGISTRY_VARIABLE) or tracking_uri))

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock among the processes of this home; the system lets go of it when a process dies."""
        with self._lock_file(name) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @contextmanager
    def shared(self, folder: Path) -> Iterator[None]:
        """Keep a folder of unfinished work while any process of this home needs it; the last to leave removes it.

        What an exception or a kill ends leaves it there, to be gone on with or swept.
        """
        with self._lock_file(f"{folder.name}-in-use") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            yield
            with suppress(BlockingIOError):  # somebody else still needs it
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)

    def _lock_file(self, name: str) -> TextIO:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / name).open("w")

    @property
    def store(self) -> ContentStore:
        """Finished stage outputs."""
        return ContentStore(self.root / "store")

    @property
    def work_path(self) -> Path:
        """What long trainings go on from after a kill; each removes its own folder when it is done."""
        return self.root / "work"

    def sweep_work(self) -> list[str]:
        """Remove what trainings left that nobody went on with for `ABANDONED_DAYS`; return the removed names."""
        oldest = time.time() - ABANDONED_DAYS * 86_400
        abandoned = [folder for folder in sorted(self.work_path.glob("*")) if _changed(folder) < oldest]
        for folder in abandoned:
            shutil.rmtree(folder, ignore_errors=True)
        return [folder.name for folder in abandoned]

    @property
    def catalogue(self) -> DatasetCatalogue:
        """Dataset versions."""
        return DatasetCatalogue(self.root / "datasets")

    @property
    def artifacts_path(self) -> Path:
        """Where the embedded MLflow keeps run artifacts and models when no other place is named."""
        return self.root / "mlartifacts"

    @property
    def artifacts_uri(self) -> str:
        """Where the embedded MLflow keeps them: `KEENEYE_ARTIFACTS` (`s3://BUCKET/FOLDER`), or the home's folder."""
        return os.environ.get(ARTIFACTS_VARIABLE) or self.artifacts_path.as_uri()

    @property
    def database_uri(self) -> str:
        """Where the ledger and the endpoints' states are kept: `KEENEYE_DATABASE`, or a SQLite file in the home."""
        return os.environ.get(DATABASE_VARIABLE) or f"sqlite:///{self.root / 'keeneye.db'}"

    @property
    def bundles_path(self) -> Path:
        """Bundles fetched from the registry, one folder per digest."""
        return self.root / "bundles"

    @property
    def weights_path(self) -> Path:
        """Weights fetched from elsewhere, one file per digest."""
        return self.root / "weights"

    @property
    def reports_path(self) -> Path:
        """Where reports are left for people, one folder per model and version."""
        return self.root / "reports"

    @property
    def comparisons_path(self) -> Path:
        """Where comparisons are left for people, one folder per dataset and request."""
        return self.root / "comparisons"

    @property
    def ground_truth_path(self) -> Path:
        """Where ground truth is written when no folder is named, one folder per dataset."""
        return self.root / "ground-truth"


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # its training has ended meanwhile
        return math.inf


def _absolute(uri: str) -> str:
    scheme, separator, path = uri.partition(":///")
    if scheme == "sqlite" and path and not path.startswith("/"):
        return f"{scheme}{separator}{Path(path).resolve()}"
    return uri
