"""Training, as Prefect runs it: a model bundle in the content store, learned in the way of the task."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.config import PreprocessingConfig, Task, TrainConfig
from tasks import engine
from tasks.bundle.adjustments import Adjustment, Clahe, Crop, Denoise, Grey
from tasks.bundle.preprocessing import Steps, detection_steps, standard_steps
from tasks.errors import KeeneyeError
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.tracking.runs import TRAINING_CURVES, Run, experiment_of, run_of_training
from tasks.train.backbone import WEIGHTS_SHA256_PREFIX, backbone_key, backbone_path
from tasks.train.earlier import EarlierVersion, find_earlier
from tasks.train.embed import EMBEDDING_VERSION, embedding_cache
from tasks.train.records import TrainedModel
from tasks.train.requirements import (
    require_detectable,
    require_learnable,
    require_normal_images,
    require_single_labels,
)

if TYPE_CHECKING:
    from tasks.train.detector.learn import DetectorLesson

STAGE_VERSION = "4"
CLASSIFIER_FOLDS = 5
_SHARED_LIBRARIES = ("numpy", "onnx", "onnxruntime", "opencv-python-headless", "pillow")
CLASSIFIER_LIBRARIES = (*_SHARED_LIBRARIES, "scikit-learn", "scipy", "skl2onnx")
ANOMALY_LIBRARIES = (*_SHARED_LIBRARIES, "scipy")
DETECTOR_LIBRARIES = (*_SHARED_LIBRARIES, "onnxscript", "timm", "torch", "torchvision", "faster-coco-eval")


@engine.stage("train model")
def train_model(home: Home, manifest: Manifest, config: TrainConfig) -> TrainedModel:
    """Learn from the train split, choose thresholds, estimate on folds, and write the bundle."""
    record, path = _TRAINERS[config.task](home, manifest, config)
    record = record.model_copy(update={"entry_path": str(path)})
    known = ", trained before" if record.reused else ""
    engine.logger().info("model %s: %s%s", record.bundle_digest[:12], record.estimate_in_words, known)
    return record


def _train_classifier(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    require_single_labels(manifest.images_with_several_labels)
    require_learnable(manifest.labels, manifest.images)
    training, folds = config.training, config.evaluation.folds or CLASSIFIER_FOLDS
    steps = standard_steps(config.input_size, _adjustments(training.preprocessing))
    key = StageKey(
        stage="train",
        version=f"{STAGE_VERSION}.{EMBEDDING_VERSION}",
        inputs={**_inputs(manifest), "backbone": backbone_key(config.input_size).digest},
        config={
            "task": config.task,
            "input_size": config.input_size,
            **training.model_dump(include={"algorithm", "seed"}),
            **_shape(steps, folds),
        },
        libraries=CLASSIFIER_LIBRARIES,
    )

    def make(folder: Path) -> TrainedModel:
        # scikit-learn takes seconds to load; a run that finds its model does without.
        from tasks.train.learn import Lesson, learn

        lesson = Lesson(
            dataset_name=manifest.dataset_name,
            dataset_digest=manifest.dataset_digest,
            labels=manifest.labels,
            root=Path(manifest.roots["train"]),
            train=list(read_manifest(manifest.manifest_path("train"))),
            validation=list(read_manifest(manifest.manifest_path("validation"))),
            steps=steps,
            algorithm=training.algorithm,
            seed=training.seed,
            folds=folds,
        )
        backbone = _backbone(home, config.input_size)
        return learn(folder, lesson, backbone, embedding_cache(home.store, backbone, steps), engine.progress)

    return home.store.reuse_or_make(key, TrainedModel, make)


def _backbone(home: Home, input_size: int) -> Path:
    with engine.progress("export the backbone, once", "networks") as report:
        path = backbone_path(home.store, input_size)
        report(1, 1)
    return path


def _train_anomaly_model(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    require_normal_images(manifest.totals)
    training = config.training
    steps = standard_steps(config.input_size, _adjustments(training.preprocessing))
    options = training.anomaly.model_dump()
    key = StageKey(
        stage="train",
        version=STAGE_VERSION,
        inputs={**_inputs(manifest), "backbone": backbone_key(config.input_size).digest},
        config={"task": config.task, "seed": training.seed, **options, **_shape(steps, 0)},
        libraries=ANOMALY_LIBRARIES,
    )

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
        return learn_normal(folder, lesson, _backbone(home, config.input_size), engine.progress)

    return home.store.reuse_or_make(key, TrainedModel, make)


def _train_detector(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    require_detectable(manifest.labels, manifest.boxes, manifest.totals)
    training = config.training
    earlier = find_earlier(home, training.weights)
    steps = detection_steps(config.input_size, _adjustments(training.preprocessing))
    key = StageKey(
        stage="train",
        version=STAGE_VERSION,
        inputs={**_inputs(manifest), "weights": earlier.bundle_digest if earlier else WEIGHTS_SHA256_PREFIX},
        config={
            "task": config.task,
            "training": training.model_dump(exclude={"algorithm", "device", "preprocessing", "anomaly"}),
            "input_size": config.input_size,
            **_shape(steps, config.evaluation.folds or 0),
        },
        libraries=DETECTOR_LIBRARIES,
    )

    work = home.work_path / key.digest[:32]

    def make(folder: Path) -> TrainedModel:
        # torch takes seconds to load; a run that finds its model does without.
        from tasks.train.detector.learn import learn_detector

        work.mkdir(parents=True, exist_ok=True)
        # Of this training itself nothing is swept, however long ago it was killed.
        work.touch()
        home.sweep_work()
        lesson = _detector_lesson(home, manifest, config, earlier, work)
        name = config.registry.model_name or f"{manifest.dataset_name}-{config.task}"
        with _live(home, experiment_of(manifest.dataset_name), key.digest, name) as tell:
            return learn_detector(folder, work, lesson, engine.progress, tell)

    # A second process with the same request would write the same checkpoints: it waits, and finds the model.
    with home.lock(f"train-{key.digest[:32]}"):
        made = home.store.reuse_or_make(key, TrainedModel, make)
        shutil.rmtree(work, ignore_errors=True)
    return made


def _detector_lesson(
    home: Home, manifest: Manifest, config: TrainConfig, earlier: EarlierVersion | None, work: Path
) -> "DetectorLesson":
    from tasks.train.detector.learn import DetectorLesson
    from tasks.train.detector.network import Architecture
    from tasks.train.learning.device import choose_device
    from tasks.train.learning.loop import Schedule

    training, options = config.training, config.training.detector
    return DetectorLesson(
        dataset_name=manifest.dataset_name,
        dataset_digest=manifest.dataset_digest,
        labels=manifest.labels,
        root=Path(manifest.roots["train"]),
        train=list(read_manifest(manifest.manifest_path("train"))),
        validation=list(read_manifest(manifest.manifest_path("validation"))),
        steps=detection_steps(config.input_size, _adjustments(training.preprocessing)),
        architecture=Architecture(
            # Weights that know nothing yet must learn, all of them.
            options.backbone,
            0 if training.weights == "none" else options.frozen_stages,
            len(manifest.labels),
        ),
        weights=earlier.fetch(home, work / "earlier") if earlier else training.weights,
        schedule=Schedule(
            device=choose_device(training.device), **options.model_dump(exclude={"backbone", "frozen_stages"})
        ),
        seed=training.seed,
        folds=config.evaluation.folds or 0,
    )


def _inputs(manifest: Manifest) -> dict[str, str]:
    return {
        "manifest": manifest.manifest_digest,
        # The bundle names its dataset's version, of which boxes are a part that no label shows.
        "dataset": manifest.dataset_digest,
        "name": manifest.dataset_name,
    }


def _adjustments(wanted: PreprocessingConfig) -> tuple[Adjustment, ...]:
    crop = Crop(**wanted.crop.model_dump())
    return (
        *([crop] if crop != Crop() else []),
        *([Denoise(diameter=wanted.denoise)] if wanted.denoise else []),
        *([Clahe(clip_limit=wanted.clahe)] if wanted.clahe else []),
        *([Grey()] if wanted.grey else []),
    )


def _shape(steps: Steps, folds: int) -> dict[str, Any]:
    return {"folds": folds, "steps": [step.model_dump(mode="json") for step in steps]}


@contextmanager
def _live(home: Home, experiment: str, train_key: str, name: str) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Show each epoch's figures in the log, and in MLflow while learning goes on."""
    with run_of_training(home, experiment, train_key, name) as run:
        yield _Epochs(run)


class _Epochs:
    """Tells epochs. MLflow not answering is no reason to stop learning: the curves are logged again later."""

    def __init__(self, run: Run) -> None:
        self._run: Run | None = run

    def __call__(self, row: Mapping[str, float]) -> None:
        score = f", validation mAP50 {row['validation_map_50']:.3f}" if "validation_map_50" in row else ""
        engine.logger().info("epoch %d: loss %.3f%s", row["epoch"], row["loss"], score)
        if self._run:
            try:
                self._run.log_steps([row], TRAINING_CURVES)
            except KeeneyeError as error:
                engine.logger().warning("the curves are not shown live: %s", error.message)
                self._run = None


_TRAINERS: Mapping[Task, Callable[[Home, Manifest, TrainConfig], tuple[TrainedModel, Path]]] = {
    "classification": _train_classifier,
    "detection": _train_detector,
    "anomaly": _train_anomaly_model,
}
