"""Registering, as Prefect runs it: one MLflow run and one version per run key; then the version's status."""

import json
from pathlib import Path
from typing import Any

import cv2
import yaml

from flows.config import DataConfig, TrainConfig
from tasks import engine
from tasks.bundle.preprocessing import Resize
from tasks.dataset.entries import Split
from tasks.dataset.files import read_image_bytes
from tasks.evaluate.records import SNAPSHOT_FILE, SUMMARY_FILE, Evaluation
from tasks.ground_truth.manifests import read_manifest
from tasks.inference_test.records import InferenceTest
from tasks.manifest.records import Manifest
from tasks.metrics.task_metrics import importances_of
from tasks.promote.records import StagingOutcome
from tasks.register.publish import flat_metrics, flat_parameters
from tasks.register.records import RegisteredVersion, Status
from tasks.stores.content import digest_of
from tasks.stores.home import Home
from tasks.stores.s3_objects import is_object_address
from tasks.tracking.environment_names import ENVIRONMENTS
from tasks.tracking.ledger import EntryKind, Ledger
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, DATASET_DIGEST_TAG, STATUS_TAG, Registry, VersionInfo
from tasks.tracking.runs import (
    MANIFESTS_FOLDER,
    PREFECT_FLOW_RUN_TAG,
    TRAINING_CURVES,
    Run,
    experiment_of,
    run_of_key,
)
from tasks.train.records import TrainedModel
from tasks.vision.images import decode_rgb

EXAMPLE_SIDE_PIXELS = 96
IMPORTANCES_FILE, TRIALS_FILE = "feature_importances.json", "trials.json"
"""Among a run's artifacts."""


@engine.stage("register version")
def register_version(
    home: Home, manifest: Manifest, model: TrainedModel, evaluation: Evaluation, config: TrainConfig
) -> RegisteredVersion:
    """Log the run to MLflow and register the bundle; a run key that was registered before is found again."""
    name = config.registry.model_name or f"{manifest.dataset_name}-{config.task}"
    run_key = run_key_of(manifest, model, evaluation, config, name)
    known = Registry(home).version_of_key(name, run_key)
    with (
        home.lock(f"request-{run_key}"),
        run_of_key(home, experiment_of(manifest.dataset_name), run_key, name, model.key) as run,
    ):
        run.tag(PREFECT_FLOW_RUN_TAG, engine.flow_run_id())
        if not run.is_logged:
            _log(run, manifest, model, evaluation, config)
            run.mark_logged()
        tags = {STATUS_TAG: "candidate", DATASET_DIGEST_TAG: manifest.dataset_digest}
        info = Registry(home).register(run, name, run_key, model.bundle_path, _example(manifest), tags)
    engine.logger().info("%s is version %s of %s", model.bundle_digest[:12], info.version, name)
    return RegisteredVersion(
        key=run_key,
        run_key=run_key,
        bundle_digest=model.bundle_digest,
        reused=known is not None,
        **_fields_of(info),
    )


@engine.stage("judge version")
def judge_version(
    home: Home, version: RegisteredVersion, evaluation: Evaluation, trial: InferenceTest
) -> RegisteredVersion:
    """Give a version its status: `rejected` with the reasons of gate and inference test, or `registered`.

    One that stands in an environment, or once did, keeps its status in the registry whatever is told: who asks for its
    training again, on a machine that is slow just now, must neither empty an environment nor bar the way back.
    """
    reasons = (*evaluation.gate.reasons, *trial.outcome.reasons)
    status: Status = "rejected" if reasons else "registered"
    models = Registry(home)
    info = models.version(version.model_name, version.model_version)
    if reasons and _has_stood(home, info):
        kept = info.tags.get(STATUS_TAG, "")
        engine.logger().warning("%s stands or stood in an environment, and keeps its status %r", info.uri, kept)
    else:
        info = models.set_status(info, status, reasons)
    return _told(version, info, status, reasons)


def _has_stood(home: Home, info: VersionInfo) -> bool:
    if not set(info.aliases).isdisjoint(ENVIRONMENTS):  # all that is known of what came there before the ledger
        return True
    done = (one for one in Ledger(home.database_uri).entries(info.name) if one.kind is EntryKind.DONE)
    place = (info.version, info.tags[BUNDLE_DIGEST_TAG])
    return any((one.to_version, one.bundle_digest) == place for one in done)


@engine.stage("note staging")
def note_staging(home: Home, version: RegisteredVersion, outcome: StagingOutcome) -> RegisteredVersion:
    """Give a version that passed its own tests the status that came of its way to staging.

    What staging refused is `refused` in the registry: `keeneye promote` passes it over unless `--version` names it, and
    then compares it anew.
    """
    models = Registry(home)
    info = models.version(version.model_name, version.model_version)
    known: Status = "staged" if outcome.stands else "refused" if outcome.refused else "registered"
    info = models.set_status(info, known, outcome.reasons)
    status: Status = "rejected" if outcome.refused else known
    placed = version.model_copy(update={"replaced": outcome.replaced, "comparison": outcome.comparison})
    return _told(placed, info, status, outcome.reasons)


def _told(version: RegisteredVersion, info: VersionInfo, status: Status, reasons: tuple[str, ...]) -> RegisteredVersion:
    log = engine.logger()
    log.info("%s version %s: %s", info.name, info.version, status)
    for reason in reasons:
        log.warning("%s: %s", status, reason)
    return version.model_copy(update={"status": status, "reasons": reasons, "aliases": info.aliases, "reused": False})


def run_key_of(manifest: Manifest, model: TrainedModel, evaluation: Evaluation, config: TrainConfig, name: str) -> str:
    """Identify a request: data, code and settings.

    Where the data lies and what it is called does not count, nor whether the report has pictures.
    """
    # What `data` says is in the manifest, and so in the model's key.
    # Who carries out shards shapes nothing, nor do pictures.
    aside: dict[str, Any] = {"data": True, "registry": {"model_name"}, "shards": True, "evaluation": {"explain"}}
    settings = config.model_dump(exclude=aside)
    return digest_of([name, manifest.dataset_digest, model.key, evaluation.key, settings])


def _fields_of(info: VersionInfo) -> dict[str, Any]:
    return {
        "model_name": info.name,
        "model_version": info.version,
        "model_uri": info.uri,
        "mlflow_run_id": info.run_id,
        "status": info.tags.get(STATUS_TAG, "candidate"),
        "aliases": info.aliases,
    }


def _log(run: Run, manifest: Manifest, model: TrainedModel, evaluation: Evaluation, config: TrainConfig) -> None:
    # What is logged once cannot change; a run that goes on may be carried out by others.
    settings = config.model_dump(mode="json", exclude={"shards"})
    tags = {
        DATASET_DIGEST_TAG: manifest.dataset_digest,
        "keeneye.bundle_digest": model.bundle_digest,
    }
    chosen = {f"chosen.{name}": str(value) for name, value in model.chosen.items()}
    params = flat_parameters(settings) | {"dataset": manifest.dataset_name} | chosen
    run.log_figures(params, flat_metrics(evaluation.metrics), tags)
    run.log_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), "config.yaml")
    if model.trials:
        run.log_text(json.dumps([trial.model_dump() for trial in model.trials], indent=2), TRIALS_FILE)
    run.log_steps(model.history, TRAINING_CURVES)
    run.log_files(evaluation.figures_path, "figures")
    if found := importances_of(evaluation.metrics.cross_validated):
        run.log_text(found.model_dump_json(indent=2), IMPORTANCES_FILE)
    for name in (SUMMARY_FILE, SNAPSHOT_FILE):
        run.log_file(Path(evaluation.entry_path) / name, "evaluation")
    for split, images in manifest.images.items():
        if manifest.totals[split]:
            run.log_file(manifest.manifest_path(split), MANIFESTS_FOLDER)
            rows = [{"label": label, "images": count} for label, count in images.items()]
            place = _source_of(split, manifest, config.data)
            run.log_dataset(manifest.dataset_name, manifest.dataset_digest, place, rows, split)


def _source_of(split: Split, manifest: Manifest, data: DataConfig) -> str:
    """Return where a split's images are from; those of an object store are below the root as copies only."""
    source = data.image_root or (data.test_source if split == "test" and data.test_source else data.source)
    return source if is_object_address(source) else manifest.roots[split]


def _example(manifest: Manifest) -> bytes:
    """A small picture of the dataset, for the model's input example."""
    entry = next(read_manifest(manifest.manifest_path("train")))
    image = decode_rgb(read_image_bytes(Path(manifest.roots["train"]), entry))
    small = Resize(width=EXAMPLE_SIDE_PIXELS, height=EXAMPLE_SIDE_PIXELS).apply(image)
    return cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
