"""Training of networks, detectors and classifiers, as Prefect runs it."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from flows.config import TrainConfig
from tasks import engine
from tasks.bundle.adjustments import adjustments
from tasks.bundle.preprocessing import Steps, detection_steps
from tasks.errors import KeeneyeError
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.tracking.runs import TRAINING_CURVES, Run, experiment_of, run_of_training
from tasks.train.earlier import Earlier, EarlierVersion
from tasks.train.head_task import preprocessing_of
from tasks.train.records import TrainedModel
from tasks.train.requirements import require_classifiable, require_detectable
from tasks.train.stage_key import SHARED_LIBRARIES, STAGE_VERSION, inputs_of, shape_of
from tasks.train.weights import NO_WEIGHTS, PACKAGE, FirstWeights, find_weights

if TYPE_CHECKING:
    from tasks.train.classifier.teach import ClassifierLesson

_NETWORK_LIBRARIES = (*SHARED_LIBRARIES, "onnxscript", "timm", "torch", "torchvision")
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


def train_detector(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    """Learn a detector, or find it; returns the record and the entry that holds it."""
    require_detectable(manifest.labels, manifest.boxes, manifest.totals)
    steps = detection_steps(config.input_size, adjustments(**config.training.preprocessing.before_framing))
    return _teach(home, manifest, config, steps, {"algorithm", "network"}, DETECTOR_LIBRARIES, _learn_detector)


def train_network(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    """Learn a network that classifies, or find it; returns the record and the entry that holds it."""
    require_classifiable(manifest)
    return _teach(home, manifest, config, preprocessing_of(config), {"detector"}, NETWORK_LIBRARIES, _learn_network)


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
    found = starting_weights(home, config)
    key = StageKey(
        stage="train",
        version=STAGE_VERSION,
        inputs={**inputs_of(manifest), "weights": found.digest},
        config={
            "task": config.task,
            "labels_per_image": manifest.labels_per_image,
            "training": config.training.model_dump(
                exclude={"anomaly", "features", "views", "device", "preprocessing", *idle}
            ),
            "input_size": config.input_size,
            **shape_of(steps, config.evaluation.folds or 0),
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


def starting_weights(home: Home, config: TrainConfig) -> FirstWeights | EarlierVersion:
    """Return what a network starts from.

    Raises:
        RequestError: when there are no such weights.
        EnvironmentFailed: when a server or the hub does not answer.
    """
    # No package holds weights of the small network: its default is to know nothing.
    is_fresh = config.training.algorithm == "cnn" and config.training.weights == PACKAGE
    found = find_weights(home, NO_WEIGHTS if is_fresh else config.training.weights)
    if isinstance(found, FirstWeights) and found.absence:
        engine.logger().warning("the weights fetched before are taken: %s", found.absence)
    return found


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
        steps=detection_steps(config.input_size, adjustments(**training.preprocessing.before_framing)),
        architecture=Architecture(options.backbone, frozen, len(manifest.labels)),
    )
    return learn_detector(folder, work, lesson, engine.progress, tell)


def _learn_network(
    folder: Path, work: Path, manifest: Manifest, config: TrainConfig, weights: Weights, tell: Tell
) -> TrainedModel:
    from tasks.train.classifier.learn import learn_classifier

    lesson = classifier_lesson(manifest, config, weights)
    return learn_classifier(folder, work, lesson, engine.progress, tell)


def classifier_lesson(manifest: Manifest, config: TrainConfig, weights: Weights) -> "ClassifierLesson":
    """Return what a network that classifies is to learn; loads torch, which takes seconds."""
    from tasks.train.classifier.fit import Regularisation
    from tasks.train.classifier.network import CNN, Architecture
    from tasks.train.classifier.teach import ClassifierLesson

    training, options = config.training, config.training.network
    is_pretrained = training.algorithm != CNN and training.weights != NO_WEIGHTS
    frozen = {"transfer": None, "finetune": options.frozen_stages if is_pretrained else 0}.get(training.algorithm, 0)
    schedule = options.model_dump(include={"patience", "batch_size", "warm_up", "augmentation"}) | {
        "epochs": options.epochs or EPOCHS[training.algorithm],
        "learning_rate": options.learning_rate or LEARNING_RATES[training.algorithm],
    }
    return ClassifierLesson(
        **_lesson(manifest, config, weights, schedule),
        algorithm=training.algorithm,
        steps=preprocessing_of(config),
        architecture=Architecture(
            CNN if training.algorithm == CNN else options.backbone,
            frozen,
            is_pretrained,
            len(manifest.labels),
            manifest.is_multi_label,
        ),
        regularisation=Regularisation(**options.model_dump(include={"mixup", "label_smoothing", "layer_decay"})),
    )


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


_SCORES = {"validation_map_50": "validation mAP50", "validation_loss": "validation loss"}


@contextmanager
def _live(home: Home, experiment: str, train_key: str, name: str) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Show each epoch's figures in the log, and in MLflow while learning goes on."""
    with run_of_training(home, experiment, train_key, name) as run:
        yield _Epochs(run)


def log_epoch(row: Mapping[str, float]) -> None:
    """Show an epoch's figures in the log."""
    score = "".join(f", {word} {row[name]:.3f}" for name, word in _SCORES.items() if name in row)
    engine.logger().info("epoch %d: loss %.3f%s", row["epoch"], row["loss"], score)


class _Epochs:
    """Tells epochs. MLflow not answering is no reason to stop learning: the curves are logged again later."""

    def __init__(self, run: Run) -> None:
        self._run: Run | None = run

    def __call__(self, row: Mapping[str, float]) -> None:
        log_epoch(row)
        if self._run:
            try:
                self._run.log_steps([row], TRAINING_CURVES)
            except KeeneyeError as error:
                engine.logger().warning("the curves are not shown live: %s", error.message)
                self._run = None
