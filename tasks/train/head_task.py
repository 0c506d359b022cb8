"""Training of a classifier on frozen features, as Prefect runs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flows.config import TrainConfig
from tasks import engine
from tasks.bundle.adjustments import adjustments
from tasks.bundle.preprocessing import Steps, classifier_steps
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.shards.runner import HERE, ShardRunner, open_runner
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.train.backbone import backbone_key, backbone_path
from tasks.train.embed import EMBEDDING_VERSION
from tasks.train.feature_kinds import FeatureKinds, backbone_kinds, engineered_kinds, feature_sets, steps_of
from tasks.train.records import TrainedModel
from tasks.train.requirements import require_classifiable, require_comparable
from tasks.train.stage_key import SHARED_LIBRARIES, STAGE_VERSION, inputs_of, shape_of
from tasks.train.views import VIEWS, View

if TYPE_CHECKING:
    from tasks.train.gather import FeatureSources
    from tasks.train.heads.model import HeadName
    from tasks.train.learn import Lesson

CLASSIFIER_FOLDS = 5
MAX_VIEWED_IMAGES = 2000
"""Of more training images further views are not made: each takes as long as an image, and teaches less and less."""
LIBRARIES = (*SHARED_LIBRARIES, "scikit-learn", "scipy", "skl2onnx")


def train_head(home: Home, manifest: Manifest, config: TrainConfig) -> tuple[TrainedModel, Path]:
    """Learn features and a head, or find the model; returns the record and the entry that holds it."""
    require_classifiable(manifest)
    require_comparable(config.training.algorithm, manifest.totals["train"] + manifest.totals["validation"])
    views = views_of(manifest, config)
    key = head_key("train", STAGE_VERSION, manifest, config, views)

    def make(folder: Path) -> TrainedModel:
        # scikit-learn takes seconds to load; a run that finds its model does without.
        from tasks.train.learn import learn

        lesson = head_lesson(manifest, config)
        with open_runner(home.store.root, config.shards) as runner:
            return learn(folder, lesson, feature_sources(home, config, views, runner), engine.progress)

    return home.store.reuse_or_make(key, TrainedModel, make)


def head_key(
    stage: str,
    version: str,
    manifest: Manifest,
    config: TrainConfig,
    views: Sequence[View],
    libraries: Sequence[str] = (),
    **more: Any,  # noqa: ANN401 - JSON values
) -> StageKey:
    """Return the key of what is learned by a classifier on features; `more` goes with its settings, and libraries."""
    sets = feature_sets(config.training.features)
    backbone = {"backbone": backbone_key(config.input_size).digest} if any(map(backbone_kinds, sets)) else {}
    return StageKey(
        stage=stage,
        version=f"{version}.{EMBEDDING_VERSION}",
        inputs={**inputs_of(manifest), **backbone},
        config={
            "task": config.task,
            "labels_per_image": manifest.labels_per_image,
            "input_size": config.input_size,
            **config.training.model_dump(include={"algorithm", "seed"}),
            "features": [_kinds_in_full(kinds) for kinds in sets],
            "views": [view.model_dump() for view in views],
            **shape_of(preprocessing_of(config), config.evaluation.folds or CLASSIFIER_FOLDS),
            **more,
        },
        libraries=tuple(dict.fromkeys((*LIBRARIES, *libraries))),
    )


def _kinds_in_full(kinds: FeatureKinds) -> list[Any]:
    return [*backbone_kinds(kinds), *(step.model_dump(mode="json") for step in steps_of(engineered_kinds(kinds)))]


def views_of(manifest: Manifest, config: TrainConfig) -> tuple[View, ...]:
    """Return the views that are learned from besides the images themselves."""
    return views_for(manifest) if config.training.views else ()


def views_for(manifest: Manifest) -> tuple[View, ...]:
    """Return the views that may be learned from, of so many images."""
    return VIEWS if manifest.totals["train"] <= MAX_VIEWED_IMAGES else ()


def preprocessing_of(config: TrainConfig) -> Steps:
    """Return what happens to an image before a classifier sees it."""
    wanted = config.training.preprocessing
    return classifier_steps(config.input_size, adjustments(**wanted.before_framing), wanted.framing)


def head_lesson(manifest: Manifest, config: TrainConfig) -> "Lesson":
    """Return what a classifier on features is to learn; loads scikit-learn, which takes seconds."""
    from tasks.train.candidates import Search
    from tasks.train.learn import Lesson

    training = config.training
    return Lesson(
        dataset_name=manifest.dataset_name,
        dataset_digest=manifest.dataset_digest,
        labels=manifest.labels,
        root=Path(manifest.roots["train"]),
        train=list(read_manifest(manifest.manifest_path("train"))),
        validation=list(read_manifest(manifest.manifest_path("validation"))),
        search=Search.of(
            None if training.algorithm == "auto" else cast("HeadName", training.algorithm),
            training.features,
            training.seed,
        ),
        folds=config.evaluation.folds or CLASSIFIER_FOLDS,
        is_multi_label=manifest.is_multi_label,
    )


def feature_sources(
    home: Home, config: TrainConfig, views: Sequence[View], runner: ShardRunner = HERE
) -> "FeatureSources":
    """Return what features come from; the backbone is exported at first use, when any of them asks for it."""
    from tasks.train.gather import FeatureSources

    asks = any(map(backbone_kinds, feature_sets(config.training.features)))
    exported = exported_backbone(home, config.input_size) if asks else None
    return FeatureSources(home.store, exported, preprocessing_of(config), views, config.training.seed, runner)


def exported_backbone(home: Home, input_size: int) -> Path:
    """Return the backbone's ONNX file, exported at first use, and say so while it lasts."""
    with engine.progress("export the backbone, once", "networks") as report:
        path = backbone_path(home.store, input_size)
        report(1, 1)
    return path
