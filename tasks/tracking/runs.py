"""MLflow runs: one per run key, found again after a kill. The ambient run of MLflow is never used."""

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID

from tasks.dataset.entries import SPLITS
from tasks.dataset.versions import manifests_digest
from tasks.errors import KeeneyeError
from tasks.stores.home import Home
from tasks.tracking.client import answered, asked_once, connect
from tasks.tracking.orphans import PROCESS_TAG, end_orphans, process_tag

RUN_KEY_TAG = "keeneye.run_key"
TRAIN_KEY_TAG = "keeneye.train_key"
LOGGED_TAG = "keeneye.logged"
MANIFESTS_FOLDER = "manifests"
"""Among a run's artifacts."""
MADE_TAG = "keeneye.made"
"""A number of its own that a run is made with."""
TRAINING_CURVES = "training"
"""Group of the metrics that training makes epoch by epoch."""
PREFECT_FLOW_RUN_TAG = "prefect.flow_run_id"
EMBEDDED_SCHEME = "sqlite"
MAX_BATCH_METRICS = 1000
"""MLflow takes no more in one call."""


def experiment_of(dataset_name: str) -> str:
    """Return the experiment that holds all runs on a dataset."""
    return f"keeneye/{dataset_name}"


class Run:
    """One MLflow run, addressed by its id."""

    def __init__(self, home: Home, client: MlflowClient, run_id: str, experiment_id: str) -> None:
        self._home, self._client = home, client
        self.run_id, self.experiment_id = run_id, experiment_id

    @property
    def is_logged(self) -> bool:
        """Whether everything of this run was logged before; then nothing is logged twice."""
        with answered(self._home):
            return LOGGED_TAG in self._client.get_run(self.run_id).data.tags

    def log_figures(self, params: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log parameters, metrics and tags in one call."""
        with answered(self._home):
            # One time for all: MLflow drops a figure it has, so logging again after a kill adds nothing.
            now = self._client.get_run(self.run_id).info.start_time
            self._client.log_batch(
                self.run_id,
                metrics=[Metric(name, float(value), now, 0) for name, value in metrics.items()],
                params=[Param(name, str(value)) for name, value in params.items()],
                tags=[RunTag(name, value) for name, value in tags.items()],
            )

    def log_steps(self, rows: Sequence[Mapping[str, float]], prefix: str) -> None:
        """Log curves: a row of figures per step, with its `epoch` and the `time` it was made (seconds since 1970).

        A row that was logged before is not logged twice.
        """
        metrics = [
            Metric(f"{prefix}.{name}", float(value), int(row["time"] * 1000), int(row["epoch"]))
            for row in rows
            for name, value in row.items()
            if name not in {"epoch", "time"}
        ]
        with answered(self._home):
            for start in range(0, len(metrics), MAX_BATCH_METRICS):
                self._client.log_batch(self.run_id, metrics=metrics[start : start + MAX_BATCH_METRICS])

    def log_files(self, folder: Path, place: str) -> None:
        """Log all files of a folder below `place`."""
        with answered(self._home):
            self._client.log_artifacts(self.run_id, str(folder), place)

    def log_file(self, path: Path, place: str = "") -> None:
        """Log one file."""
        with answered(self._home):
            self._client.log_artifact(self.run_id, str(path), place or None)

    def log_text(self, text: str, name: str) -> None:
        """Log a text as a file."""
        with answered(self._home):
            self._client.log_text(self.run_id, text, name)

    def log_dataset(self, name: str, digest: str, source: str, rows: Sequence[Mapping[str, Any]], context: str) -> None:
        """Log a dataset input: its version's digest, its source, and a profile of its rows."""
        with warnings.catch_warnings():
            # MLflow warns that counts are integers and that a path is a path.
            warnings.simplefilter("ignore", UserWarning)
            # MLflow takes inputs of one name and digest for one input and keeps the first: hence the split's name.
            dataset = mlflow.data.from_pandas(
                pd.DataFrame(rows), source=source, name=f"{name}-{context}", digest=digest[:36]
            )
            entity = dataset._to_mlflow_entity()
        tags = [InputTag(MLFLOW_DATASET_CONTEXT, context)]
        with answered(self._home):
            self._client.log_inputs(self.run_id, [DatasetInput(entity, tags)])

    def end(self, status: str) -> None:
        """Say that the run is over: FINISHED or FAILED."""
        with answered(self._home):
            self._client.set_terminated(self.run_id, status=status)

    def mark_logged(self) -> None:
        """Say that all was logged."""
        with answered(self._home):
            self._client.set_tag(self.run_id, LOGGED_TAG, "true")

    def put_below(self, parent: "Run") -> None:
        """Show this run as a part of another."""
        self.tag(MLFLOW_PARENT_RUN_ID, parent.run_id)

    def tag(self, name: str, value: str) -> None:
        """Set one tag."""
        with answered(self._home):
            self._client.set_tag(self.run_id, name, value)


@contextmanager
def run_of_key(home: Home, experiment: str, run_key: str, name: str, train_key: str = "") -> Iterator[Run]:
    """Open the run of a key; FINISHED at the end, FAILED when an exception passes.

    At first use it is made, or taken over from the training with `train_key` whose curves were shown live.
    """
    run = _opened(home, experiment, name, {RUN_KEY_TAG: run_key}, train_key)
    try:
        yield run
    except BaseException:
        # What went wrong matters more than a run that cannot be ended, often for the same reason.
        with suppress(KeeneyeError):
            run.end("FAILED")
        raise
    run.end("FINISHED")


@contextmanager
def run_of_training(home: Home, experiment: str, train_key: str, name: str) -> Iterator[Run]:
    """Open the run that shows a training while it goes on; the first request that registers its model takes it over.

    An MLflow that is gone at the end takes nothing from what was learned: the run is ended by that request.
    """
    run = _opened(home, experiment, name, {}, train_key)
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    finally:
        with suppress(KeeneyeError):
            run.end(status)


def _opened(home: Home, experiment: str, name: str, tags: Mapping[str, str], train_key: str) -> Run:
    """Find the run that carries the tags, else one of the training that none has taken over, else make one."""
    client = connect(home)
    opened = {PROCESS_TAG: process_tag()}
    with home.lock("runs"), answered(home):
        experiment_id = find_or_make_experiment(home, client, experiment)
        end_orphans(client, [experiment_id])
        run_id = _tagged(client, experiment_id, tags)
        if run_id:
            _reopen(client, run_id, opened)
        elif train_key and (run_id := _untaken(client, experiment_id, train_key)):
            _reopen(client, run_id, {**tags, **opened}, name)
        else:
            # What was made without an answer is found by a tag of its own: all others may be those of another run.
            made = {MADE_TAG: uuid4().hex}
            all_tags = {**tags, **made, **opened, **({TRAIN_KEY_TAG: train_key} if train_key else {})}
            run_id = asked_once(
                lambda: str(client.create_run(experiment_id, tags=all_tags, run_name=name).info.run_id),
                lambda: _tagged(client, experiment_id, made) or None,
            )
    return Run(home, client, run_id, experiment_id)


def _reopen(client: MlflowClient, run_id: str, tags: Mapping[str, str], name: str | None = None) -> None:
    for tag, value in tags.items():
        client.set_tag(run_id, tag, value)
    client.update_run(run_id, status="RUNNING", name=name)


def _tagged(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> str:
    if not tags:
        return ""
    query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
    found = client.search_runs([experiment_id], query, max_results=1)
    return str(found[0].info.run_id) if found else ""


def _untaken(client: MlflowClient, experiment_id: str, train_key: str) -> str:
    runs = client.search_runs([experiment_id], f"tags.`{TRAIN_KEY_TAG}` = '{train_key}'", max_results=MAX_BATCH_METRICS)
    return next((str(run.info.run_id) for run in runs if RUN_KEY_TAG not in run.data.tags), "")


@dataclass(frozen=True, slots=True)
class LoggedTraining:
    """What a run tells of the training behind it: its key, the digest of the manifests that it was given."""

    train_key: str
    manifest_digest: str


def logged_training(home: Home, run_id: str) -> LoggedTraining:
    """Read from a run what was trained on what.

    Raises:
        RegistryError: when there is no such run.
        EnvironmentFailed: when MLflow does not answer.
    """
    client = connect(home)
    with tempfile.TemporaryDirectory(prefix="keeneye-manifests-") as scratch:
        empty = Path(scratch) / "empty"
        empty.touch()
        with answered(home):
            tags = client.get_run(run_id).data.tags
            logged = {one.path for one in client.list_artifacts(run_id, MANIFESTS_FOLDER)}
            # A split without images is not logged.
            paths = {
                split: Path(client.download_artifacts(run_id, name, scratch)) if name in logged else empty
                for split, name in ((split, f"{MANIFESTS_FOLDER}/{split}.manifest") for split in SPLITS)
            }
        return LoggedTraining(tags.get(TRAIN_KEY_TAG, ""), manifests_digest(paths))


def log_report(home: Home, run_id: str, report: Path) -> None:
    """Attach a finished report to a run; doing so again replaces it."""
    client = connect(home)
    with answered(home):
        client.log_artifact(run_id, str(report))


def log_data_report(home: Home, run_id: str, folder: Path) -> None:
    """Attach a data report with its pictures to a run, below `data`; doing so again replaces it."""
    client = connect(home)
    with answered(home):
        client.log_artifacts(run_id, str(folder), "data")


def find_or_make_experiment(home: Home, client: MlflowClient, name: str) -> str:
    """Return the id of the experiment of a name, made at its first use."""
    known = _experiment_id(client, name)
    if known:
        return known
    # A server decides itself where artifacts go; the embedded store would put them below the working directory.
    embedded = home.tracking_uri.startswith(EMBEDDED_SCHEME)
    location = home.artifacts_uri if embedded else None
    return asked_once(
        lambda: str(client.create_experiment(name, artifact_location=location)), lambda: _experiment_id(client, name)
    )


def _experiment_id(client: MlflowClient, name: str) -> str | None:
    known = client.get_experiment_by_name(name)
    return str(known.experiment_id) if known else None
