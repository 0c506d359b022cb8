"""Training, as Prefect runs it: a model bundle in the content store, learned in the way of the task."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

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
from tasks.train.backbone import backbone_key, backbone_path
from tasks.train.earlier import Earlier, EarlierVersion
from tasks.train.embed import EMBEDDING_VERSION, embedding_cache
from tasks.train.records import TrainedModel
from tasks.train.requirements import (
    require_detectable,
    require_learnable,
    require_normal_images,
    require_single_labels,
)
from tasks.train.views import VIEWS
from tasks.train.weights import NO_WEIGHTS, PACKAGE, FirstWeights, find_weights

if TYPE_CHECKING:
    from tasks.train.heads.model import HeadName

STAGE_VERSION = "5"
CLASSIFIER_FOLDS = 5
MAX_VIEWED_IMAGES = 2000
"""Of more training images further views are not made: each takes as long as an image, and teaches less and less."""
_SHARED_LIBRARIES = ("numpy", "onnx", "onnxruntime", "opencv-python-headless", "pillow")
CLASSIFIER_LIBRARIES = (*_SHARED_LIBRARIES, "scikit-learn", "scipy", "skl2onnx")
ANOMALY_LIBRARIES = (*_SHARED_LIBRARIES, "scipy")
_NETWORK_LIBRARIES = (*_SHARED_LIBRARIES, "onnxscript", "timm", "torch", "torchvision")
DETECTOR_LIBRARIES = (*_NETWORK_LIBRARIES, "faster-coco-eval")
NETWORK_LIBRARIES = (*_NETWORK_LIBRARIES, "scikit-learn", "scipy")
EPOCHS: Mapping[str, int] = MappingProxyType({"cnn": 60, "transfer": 30, "finetune": 20})
LEARNING_RATES: Mapping[str, float] = MappingProxyType({"cnn": 0.003, "transfer": 0.003, "finetune": 0.001})
"""Of the classifiers that are networks as a whole, unless the request says otherwise."""

Weights = Earlier | FirstWeights
Tell = Callable[[Mapping[str, float]], None]
LearnNetwork = Callable[[Path, Path, Manifest, TrainConfig, Weights, Tell], TrainedModel]
"""Called with the folder to fill, that of unfinished work, what to learn from, the request, the first weights, and what
is told of each epoch."""


@engine.stage("train model")
def train_model(home: Home, manifest: Manifest, config: TrainConfig) -> TrainedModel:
    """Learn from the train split, choose thresholds, estimate on folds, and write the bundle."""
    record, path = _TRAINERS[config.task](home, manifest, config)
    record = record.model_copy(update={"entry_path": str(path)})
    known = ", trained before" if record.reused else ""
    engine.logger().info("model %s: %s%s", record.bundle_digest[:12], record.estimate_in_words, known)
    return record


def _train_classifier(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    train = _train_network if config.training.algorithm in EPOCHS else _train_head
    return train(home, manifest, config)


def _train_head(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    _require_classifiable(manifest)
    training, folds = config.training, config.evaluation.folds or CLASSIFIER_FOLDS
    steps = standard_steps(config.input_size, _adjustments(training.preprocessing))
    views = VIEWS if training.views and manifest.totals["train"] <= MAX_VIEWED_IMAGES else ()
    key = StageKey(
        stage="train",
        version=f"{STAGE_VERSION}.{EMBEDDING_VERSION}",
        inputs={**_inputs(manifest), "backbone": backbone_key(config.input_size).digest},
        config={
            "task": config.task,
            "input_size": config.input_size,
            **training.model_dump(include={"algorithm", "features", "seed"}),
            "views": [view.model_dump() for view in views],
            **_shape(steps, folds),
        },
        libraries=CLASSIFIER_LIBRARIES,
    )

    def make(folder: Path) -> TrainedModel:
        # scikit-learn takes seconds to load; a run that finds its model does without.
        from tasks.train.candidates import Search
        from tasks.train.learn import Lesson, learn

        lesson = Lesson(
            dataset_name=manifest.dataset_name,
            dataset_digest=manifest.dataset_digest,
            labels=manifest.labels,
            root=Path(manifest.roots["train"]),
            train=list(read_manifest(manifest.manifest_path("train"))),
            validation=list(read_manifest(manifest.manifest_path("validation"))),
            steps=steps,
            search=Search.of(
                None if training.algorithm == "auto" else cast("HeadName", training.algorithm),
                training.features,
                training.seed,
            ),
            folds=folds,
        )
        backbone = _backbone(home, config.input_size)
        return learn(folder, lesson, backbone, embedding_cache(home.store, backbone, steps, views), engine.progress)

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


def _require_classifiable(manifest: Manifest) -> None:
    require_single_labels(manifest.images_with_several_labels)
    require_learnable(manifest.labels, manifest.images)


def _train_detector(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    require_detectable(manifest.labels, manifest.boxes, manifest.totals)
    steps = detection_steps(config.input_size, _adjustments(config.training.preprocessing))
    return _teach(home, manifest, config, steps, {"algorithm", "network"}, DETECTOR_LIBRARIES, _learn_detector)


def _train_network(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    _require_classifiable(manifest)
    steps = standard_steps(config.input_size, _adjustments(config.training.preprocessing))
    return _teach(home, manifest, config, steps, {"detector"}, NETWORK_LIBRARIES, _learn_network)


def _teach(
    home: Home,
    manifest: Manifest,
    config: TrainConfig,
    steps: Steps,
    idle: set[str],
    libraries: tuple[str, ...],
    learn: LearnNetwork,
) -> tuple[TrainedModel, Path]:
    """Find or make a network's model; `idle` are groups of options that it does not have."""
    found = find_weights(home, _address(config))
    key = StageKey(
        stage="train",
        version=STAGE_VERSION,
        inputs={**_inputs(manifest), "weights": found.digest},
        config={
            "task": config.task,
            "training": config.training.model_dump(
                exclude={"anomaly", "features", "views", "device", "preprocessing", *idle}
            ),
            "input_size": config.input_size,
            **_shape(steps, config.evaluation.folds or 0),
        },
        libraries=libraries,
    )

    work = home.work_path / key.digest[:32]

    def make(folder: Path) -> TrainedModel:
        work.mkdir(parents=True, exist_ok=True)
        # Of this training itself nothing is swept, however long ago it was killed.
        work.touch()
        home.sweep_work()
        weights = found.fetch(home, work / "earlier", config.task) if isinstance(found, EarlierVersion) else found
        name = config.registry.model_name or f"{manifest.dataset_name}-{config.task}"
        with _live(home, experiment_of(manifest.dataset_name), key.digest, name) as tell:
            return learn(folder, work, manifest, config, weights, tell)

    # A second process with the same request would write the same checkpoints: it waits, and finds the model.
    with home.lock(f"train-{key.digest[:32]}"):
        made = home.store.reuse_or_make(key, TrainedModel, make)
        shutil.rmtree(work, ignore_errors=True)
    return made


def _address(config: TrainConfig) -> str:
    # No package holds weights of the small network: its default is to know nothing.
    is_fresh = config.training.algorithm == "cnn" and config.training.weights == PACKAGE
    return NO_WEIGHTS if is_fresh else config.training.weights


def _learn_detector(
    folder: Path, work: Path, manifest: Manifest, config: TrainConfig, weights: Weights, tell: Tell
) -> TrainedModel:
    # torch takes seconds to load; a run that finds its model does without.
    from tasks.train.detector.learn import DetectorLesson, learn_detector
    from tasks.train.detector.network import Architecture

    training, options = config.training, config.training.detector
    # Weights that know nothing yet must learn, all of them.
    frozen = 0 if training.weights == NO_WEIGHTS else options.frozen_stages
    lesson = DetectorLesson(
        **_lesson(manifest, config, weights, options.model_dump(exclude={"backbone", "frozen_stages"})),
        steps=detection_steps(config.input_size, _adjustments(training.preprocessing)),
        architecture=Architecture(options.backbone, frozen, len(manifest.labels)),
    )
    return learn_detector(folder, work, lesson, engine.progress, tell)


def _learn_network(
    folder: Path, work: Path, manifest: Manifest, config: TrainConfig, weights: Weights, tell: Tell
) -> TrainedModel:
    from tasks.train.classifier.fit import Regularisation
    from tasks.train.classifier.learn import ClassifierLesson, learn_classifier
    from tasks.train.classifier.network import CNN, Architecture

    training, options = config.training, config.training.network
    is_pretrained = training.algorithm != CNN and training.weights != NO_WEIGHTS
    frozen = {"transfer": None, "finetune": options.frozen_stages if is_pretrained else 0}.get(training.algorithm, 0)
    schedule = options.model_dump(include={"patience", "batch_size", "warm_up", "augmentation"}) | {
        "epochs": options.epochs or EPOCHS[training.algorithm],
        "learning_rate": options.learning_rate or LEARNING_RATES[training.algorithm],
    }
    lesson = ClassifierLesson(
        **_lesson(manifest, config, weights, schedule),
        algorithm=training.algorithm,
        steps=standard_steps(config.input_size, _adjustments(training.preprocessing)),
        architecture=Architecture(
            CNN if training.algorithm == CNN else options.backbone, frozen, is_pretrained, len(manifest.labels)
        ),
        regularisation=Regularisation(**options.model_dump(include={"mixup", "label_smoothing", "layer_decay"})),
    )
    return learn_classifier(folder, work, lesson, engine.progress, tell)


def _lesson(manifest: Manifest, config: TrainConfig, weights: Weights, schedule: dict[str, Any]) -> dict[str, Any]:
    """Return what the lessons of all networks hold."""
    from tasks.train.learning.device import choose_device
    from tasks.train.learning.loop import Schedule

    return {
        "dataset_name": manifest.dataset_name,
        "dataset_digest": manifest.dataset_digest,
        "labels": manifest.labels,
        "root": Path(manifest.roots["train"]),
        "train": list(read_manifest(manifest.manifest_path("train"))),
        "validation": list(read_manifest(manifest.manifest_path("validation"))),
        "weights": weights,
        "schedule": Schedule(device=choose_device(config.training.device), **schedule),
        "seed": config.training.seed,
        "folds": config.evaluation.folds or 0,
    }


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


_SCORES = {"validation_map_50": "validation mAP50", "validation_loss": "validation loss"}


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
        score = "".join(f", {word} {row[name]:.3f}" for name, word in _SCORES.items() if name in row)
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
