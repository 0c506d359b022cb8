"""Registering and staging, as Prefect runs them: one MLflow run and one version per run key; then its status."""

from pathlib import Path
from typing import Any

import cv2
import yaml

from flows.config import RegistryConfig, TrainConfig
from tasks import engine
from tasks.bundle.preprocessing import Resize
from tasks.dataset.files import read_image_bytes
from tasks.evaluate.records import SNAPSHOT_FILE, SUMMARY_FILE, Evaluation
from tasks.ground_truth.manifests import read_manifest
from tasks.inference_test.records import InferenceTest
from tasks.manifest.records import Manifest
from tasks.register.publish import flat_metrics, flat_parameters
from tasks.register.records import RegisteredVersion, Status
from tasks.stores.content import digest_of
from tasks.stores.home import Home
from tasks.tracking.environments import Environments, Move
from tasks.tracking.ledger import Ledger, history, standing
from tasks.tracking.registry import (
    BUNDLE_DIGEST_TAG,
    DATASET_DIGEST_TAG,
    POLICY,
    STAGING,
    STATUS_TAG,
    Registry,
    VersionInfo,
)
from tasks.tracking.runs import PREFECT_FLOW_RUN_TAG, TRAINING_CURVES, Run, experiment_of, run_of_key
from tasks.train.records import TrainedModel
from tasks.vision.images import decode_rgb

EXAMPLE_SIDE_PIXELS = 96


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


@engine.stage("stage version")
def stage_version(
    home: Home, version: RegisteredVersion, evaluation: Evaluation, trial: InferenceTest, registry: RegistryConfig
) -> RegisteredVersion:
    """Give a version its status, and a place in staging when gate and inference test passed and staging is wanted."""
    reasons = (*evaluation.gate.reasons, *trial.outcome.reasons)
    models = Registry(home)
    info = models.version(version.model_name, version.model_version)
    status: Status = "rejected" if reasons else "registered"
    if not reasons and registry.stage and _stands_in_staging(home, models, info, evaluation, trial):
        status = "staged"
    info = models.set_status(info, status, reasons)
    if reasons:  # the ledger's projection keeps it out, for no alias names what was rejected
        info = models.remove_alias(info, STAGING)
    log = engine.logger()
    log.info("%s version %s: %s", info.name, info.version, status)
    for reason in reasons:
        log.warning("rejected: %s", reason)
    return version.model_copy(
        update={
            "status": status,
            "reasons": reasons,
            "aliases": info.aliases,
            "reused": False,
        }
    )


def _stands_in_staging(
    home: Home, models: Registry, info: VersionInfo, evaluation: Evaluation, trial: InferenceTest
) -> bool:
    """Move a version to staging, once: an older request that is run again does not push out what came after it."""
    ledger = Ledger(home.database_uri)
    with home.lock(f"staging-{info.name}"):
        environments = Environments(models, ledger)
        for sentence in environments.repair(info.name):
            engine.logger().warning("repaired: %s", sentence)
        entries = ledger.entries(info.name)
        if all(entry.to_version != info.version for entry in history(entries, STAGING)):
            begun = environments.begin(_move_to_staging(info, evaluation, trial))
            environments.expose(begun)
            environments.confirm(begun, {})
        now = standing(ledger.entries(info.name))[STAGING].to_version
    if now != info.version:
        engine.logger().info("version %s was in staging before, where version %s stands now", info.version, now)
    return now == info.version


def _move_to_staging(info: VersionInfo, evaluation: Evaluation, trial: InferenceTest) -> Move:
    return Move(
        model=info.name,
        environment=STAGING,
        to_version=info.version,
        action="promote",
        who=POLICY,
        why="passed its gate and its inference test",
        bundle_digest=info.tags[BUNDLE_DIGEST_TAG],
        evidence={
            "gate": evaluation.gate.model_dump(mode="json"),
            "inference_test": trial.outcome.model_dump(mode="json"),
        },
    )


def run_key_of(manifest: Manifest, model: TrainedModel, evaluation: Evaluation, config: TrainConfig, name: str) -> str:
    """Identify a request: data, code and settings; where the data lies and what they are called does not count."""
    # What `data` says is in the manifest, and so in the model's key.
    settings = config.model_dump(exclude={"data": True, "registry": {"model_name"}})
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
    settings = config.model_dump(mode="json")
    tags = {
        DATASET_DIGEST_TAG: manifest.dataset_digest,
        "keeneye.bundle_digest": model.bundle_digest,
    }
    chosen = {f"chosen.{name}": str(value) for name, value in model.chosen.items()}
    params = flat_parameters(settings) | {"dataset": manifest.dataset_name} | chosen
    run.log_figures(params, flat_metrics(evaluation.metrics), tags)
    run.log_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), "config.yaml")
    run.log_steps(model.history, TRAINING_CURVES)
    run.log_files(evaluation.figures_path, "figures")
    for name in (SUMMARY_FILE, SNAPSHOT_FILE):
        run.log_file(Path(evaluation.entry_path) / name, "evaluation")
    for split, images in manifest.images.items():
        if manifest.totals[split]:
            run.log_file(manifest.manifest_path(split), "manifests")
            rows = [{"label": label, "images": count} for label, count in images.items()]
            run.log_dataset(manifest.dataset_name, manifest.dataset_digest, manifest.roots[split], rows, split)


def _example(manifest: Manifest) -> bytes:
    """A small picture of the dataset, for the model's input example."""
    entry = next(read_manifest(manifest.manifest_path("train")))
    image = decode_rgb(read_image_bytes(Path(manifest.roots["train"]), entry))
    small = Resize(width=EXAMPLE_SIDE_PIXELS, height=EXAMPLE_SIDE_PIXELS).apply(image)
    return cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
