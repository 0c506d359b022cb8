"""Training, as Prefect runs it: features from the cache, a classifier, its estimate, and the model bundle."""

from pathlib import Path

from flows.config import EvaluationConfig, Task, TrainingConfig
from tasks import engine
from tasks.bundle.preprocessing import standard_steps
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.train.backbone import backbone_key, backbone_path
from tasks.train.embed import EMBEDDING_VERSION, EmbeddingCache
from tasks.train.records import TrainedModel
from tasks.train.requirements import require_learnable, require_single_labels

STAGE_VERSION = "1"
LIBRARIES = ("numpy", "onnx", "onnxruntime", "opencv-python-headless", "pillow", "scikit-learn", "scipy", "skl2onnx")


@engine.stage("train model")
def train_model(
    home: Home, manifest: Manifest, task: Task, training: TrainingConfig, evaluation: EvaluationConfig
) -> TrainedModel:
    """Learn from the train split, choose thresholds, estimate by cross-validation, and write the bundle."""
    require_single_labels(manifest.images_with_several_labels)
    require_learnable(manifest.labels, manifest.images)
    steps = standard_steps(training.input_size)
    key = StageKey(
        stage="train",
        version=f"{STAGE_VERSION}.{EMBEDDING_VERSION}",
        inputs={
            "manifest": manifest.manifest_digest,
            # The bundle names its dataset's version, of which boxes are a part that no label shows.
            "dataset": manifest.dataset_digest,
            "name": manifest.dataset_name,
            "backbone": backbone_key(training.input_size).digest,
        },
        config={
            "task": task,
            "training": training.model_dump(),
            "folds": evaluation.folds,
            "steps": [step.model_dump(mode="json") for step in steps],
        },
        libraries=LIBRARIES,
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
            seed=training.seed,
            folds=evaluation.folds,
        )
        with engine.progress("export the backbone, once", "networks") as report:
            backbone = backbone_path(home.store, training.input_size)
            report(1, 1)
        return learn(folder, lesson, backbone, EmbeddingCache(home.store, backbone, steps), engine.progress)

    record, path = home.store.reuse_or_make(key, TrainedModel, make)
    record = record.model_copy(update={"entry_path": str(path)})
    engine.logger().info(
        "model %s: cross-validated macro-F1 %.3f (standard deviation %.3f over %d folds)%s",
        record.bundle_digest[:12],
        record.cross_validated.macro_f1,
        record.cross_validated.macro_f1_std,
        record.cross_validated.folds,
        ", trained before" if record.reused else "",
    )
    return record
