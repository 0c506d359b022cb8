"""From a folder of images to a registered, staged recognition model."""

from prefect import flow
from prefect.runtime import flow_run

from flows.config import (
    DataConfig,
    EvaluationConfig,
    GateConfig,
    MaskConfig,
    RegistryConfig,
    ShardsConfig,
    Task,
    TrainConfig,
    TrainingConfig,
)
from flows.environment_config import environment_config
from flows.orphaned_runs import begin
from flows.reporting import page_or_problem
from flows.result import TrainResult, collect, finished
from flows.staging import stage_version
from tasks.evaluate.task import evaluate_model
from tasks.explain.task import explain_answers
from tasks.inference_test.task import run_inference_test
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.register.task import register_version
from tasks.report.task import write_data_report, write_report
from tasks.train.task import train_model


@flow(name="train", persist_result=False)
def train(
    task: Task = "classification",
    data: DataConfig = DataConfig(),  # noqa: B008 - frozen, and the form shows its fields
    masks: MaskConfig = MaskConfig(),  # noqa: B008
    training: TrainingConfig = TrainingConfig(),  # noqa: B008
    evaluation: EvaluationConfig = EvaluationConfig(),  # noqa: B008
    gate: GateConfig = GateConfig(),  # noqa: B008
    registry: RegistryConfig = RegistryConfig(),  # noqa: B008
    shards: ShardsConfig = ShardsConfig(),  # noqa: B008
) -> TrainResult:
    """Turn a folder of labelled images into a registered model version, staged when it is good enough.

    Args:
        task: What the model answers.
        data: Where the images come from and how they are divided.
        masks: How masks become bounding boxes, for detection.
        training: How the model learns.
        evaluation: How the model is measured.
        gate: What the model must reach to be staged.
        registry: Where the model goes.
        shards: Who carries out the work on images.
    """
    groups = {"data": data, "masks": masks, "training": training, "evaluation": evaluation, "gate": gate}
    config = TrainConfig(task=task, registry=registry, shards=shards, **groups)
    staging = environment_config("staging") if registry.stage else None
    home = begin()

    images = ingest_images(home, data, shards)
    manifest = build_manifest(home, images, data, masks, task)
    described = write_data_report(home, images, manifest, data, masks)
    model = train_model(home, manifest, config)
    measured = evaluate_model(home, manifest, model, gate)
    version = register_version(home, manifest, model, measured, config)
    trial = run_inference_test(home, manifest, measured, version, gate)
    explained = explain_answers(home, manifest, model, measured, evaluation)
    placed = stage_version(home, version, manifest, model, measured, trial, staging)
    report = page_or_problem(
        lambda: write_report(home, images, manifest, model, measured, trial, placed, described, explained)
    )

    stages = {"ingest": images, "manifest": manifest, "data_report": described, "train": model, "evaluate": measured}
    stages |= {"register": version, "inference_test": trial, "explain": explained, "staging": placed, "report": report}
    run_id = str(flow_run.id or "")
    return finished(collect(task, run_id, images, manifest, model, measured, trial, placed, report, stages))
