"""Training, as Prefect runs it: a model bundle in the content store, learned in the way of the task."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from flows.config import Task, TrainConfig
from flows.provision_config import training_limit
from tasks import engine
from tasks.bundle.adjustments import adjustments
from tasks.bundle.preprocessing import standard_steps
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.train.auto_task import train_auto
from tasks.train.backbone import backbone_key
from tasks.train.head_task import exported_backbone, train_head
from tasks.train.network_task import EPOCHS, train_detector, train_network
from tasks.train.records import TrainedModel
from tasks.train.requirements import require_normal_images
from tasks.train.stage_key import SHARED_LIBRARIES, STAGE_VERSION, inputs_of, shape_of

ANOMALY_LIBRARIES = (*SHARED_LIBRARIES, "scipy")


@engine.stage("train model", limit=training_limit())
def train_model(home: Home, manifest: Manifest, config: TrainConfig) -> TrainedModel:
    """Learn from the train split, choose thresholds, estimate on folds, and write the bundle."""
    record, path = _TRAINERS[config.task](home, manifest, config)
    record = record.model_copy(update={"entry_path": str(path)})
    known = ", trained before" if record.reused else ""
    engine.logger().info("model %s: %s%s", record.bundle_digest[:12], record.estimate_in_words, known)
    return record


def _train_classifier(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    algorithm = config.training.algorithm
    train = train_network if algorithm in EPOCHS else train_auto if algorithm == "auto" else train_head
    return train(home, manifest, config)


def _train_anomaly_model(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    require_normal_images(manifest.totals)
    training = config.training
    steps = standard_steps(config.input_size, adjustments(**training.preprocessing.before_framing))
    options = training.anomaly.model_dump()
    key = StageKey(
        stage="train",
        version=STAGE_VERSION,
        inputs={**inputs_of(manifest), "backbone": backbone_key(config.input_size).digest},
        config={"task": config.task, "seed": training.seed, **options, **shape_of(steps, 0)},
        libraries=ANOMALY_LIBRARIES,
    )
    work = home.work_path / key.digest[:32]

    def make(folder: Path) -> TrainedModel:
        # onnx and scipy take seconds to load; a run that finds its model does without.
        from tasks.train.anomaly.learn import AnomalyLesson, learn_normal

        lesson = AnomalyLesson(
            dataset_name=manifest.dataset_name,
            dataset_digest=manifest.dataset_digest,
            root=Path(manifest.roots["train"]),
            normal=list(read_manifest(manifest.manifest_path("train"))),
            validation=list(read_manifest(manifest.manifest_path("validation"))),
            steps=steps,
            seed=training.seed,
            **options,
        )
        work.mkdir(parents=True, exist_ok=True)
        # Of this training itself nothing is swept, however long ago it was killed.
        work.touch()
        home.sweep_work()
        return learn_normal(folder, work, lesson, exported_backbone(home, config.input_size), engine.progress)

    # A second process with the same request would measure the same folds: it waits, and finds the model.
    with home.lock(f"train-{key.digest[:32]}"):
        made = home.store.reuse_or_make(key, TrainedModel, make)
        shutil.rmtree(work, ignore_errors=True)
    return made


_TRAINERS: Mapping[Task, Callable[[Home, Manifest, TrainConfig], tuple[TrainedModel, Path]]] = {
    "classification": _train_classifier,
    "detection": train_detector,
    "anomaly": _train_anomaly_model,
}
