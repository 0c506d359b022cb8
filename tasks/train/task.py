"""Training, as Prefect runs it: features from the cache, a classifier, its estimate, and the model bundle."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np

from flows.config import EvaluationConfig, Task, TrainingConfig
from tasks import engine
from tasks.bundle.preprocessing import standard_steps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.dataset.ground_truth import read_manifest
from tasks.manifest.records import Manifest
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.train.backbone import BACKBONE_NAME, BACKBONE_VERSION, backbone_path
from tasks.train.build_bundle import build_bundle, require_parity
from tasks.train.cross_validation import cross_validate
from tasks.train.embed import EMBEDDING_VERSION, EmbeddingCache
from tasks.train.heads import Indices, Probabilities, choose_thresholds, fit_head
from tasks.train.records import BUNDLE_FOLDER, OUT_OF_FOLD_FILE, TrainedModel
from tasks.vision.images import decode_rgb

STAGE_VERSION = "1"
PARITY_IMAGES = 32


@engine.stage("train model")
def train_model(
    home: Home, manifest: Manifest, task: Task, training: TrainingConfig, evaluation: EvaluationConfig
) -> TrainedModel:
    """Learn from the train split, choose thresholds, estimate by cross-validation, and write the bundle."""
    key = StageKey(
        stage="train",
        version=f"{STAGE_VERSION}.{BACKBONE_VERSION}.{EMBEDDING_VERSION}",
        inputs={"dataset": manifest.dataset_digest},
        config={"task": task, "training": training.model_dump(), "folds": evaluation.folds},
        libraries=("scikit-learn", "skl2onnx", "onnxruntime", "opencv-python-headless", "pillow", "numpy"),
    )
    steps = standard_steps(training.input_size)

    def make(folder: Path) -> TrainedModel:
        train = list(read_manifest(manifest.manifest_path("train")))
        validation = list(read_manifest(manifest.manifest_path("validation")))
        root = Path(manifest.roots["train"])
        backbone = backbone_path(home.store, training.input_size)
        with engine.progress("embed images", "images") as report:
            features = EmbeddingCache(home.store, backbone, steps).features(root, [*train, *validation], report)
        y = _label_indices([*train, *validation], manifest.labels)
        learned, held = slice(0, len(train)), slice(len(train), None)
        head = fit_head(features[learned], y[learned], training.seed)
        judged = (head.probabilities(features[held]), y[held])
        thresholds = choose_thresholds(head, y[learned], judged, manifest.labels)
        with engine.progress("cross-validate", "folds") as report:
            estimate, pooled = cross_validate(features, y, manifest.labels, evaluation.folds, training.seed, report)
        _write_out_of_fold(folder / OUT_OF_FOLD_FILE, [*train, *validation], manifest.labels, pooled)
        digest = build_bundle(
            folder / BUNDLE_FOLDER,
            backbone=backbone,
            pipeline=head.pipeline,
            labels=manifest.labels,
            thresholds=thresholds,
            steps=steps,
            dataset_digest=manifest.dataset_digest,
            provenance={
                "keeneye": version("keeneye"),
                "dataset": manifest.dataset_name,
                "backbone": BACKBONE_NAME,
                "algorithm": "logistic",
                "strength": head.strength,
                "seed": training.seed,
                "training_images": len(train),
            },
        )
        sample = list(islice(train, PARITY_IMAGES))
        difference = require_parity(
            folder / BUNDLE_FOLDER,
            [decode_rgb(read_image_bytes(root, entry)) for entry in sample],
            head.probabilities(features[: len(sample)]),
        )
        return TrainedModel(
            bundle_digest=digest,
            input_size=training.input_size,
            seed=training.seed,
            strength=head.strength,
            cross_validated=estimate,
            parity_difference=difference,
        )

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


def _label_indices(entries: Sequence[ImageEntry], labels: Sequence[str]) -> Indices:
    return np.array([labels.index(entry.truth.stratum) for entry in entries], dtype=np.intp)


def _write_out_of_fold(path: Path, entries: Sequence[ImageEntry], labels: Sequence[str], pooled: Probabilities) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for entry, row in zip(entries, pooled, strict=True):
            confidences = {label: round(float(value), 6) for label, value in zip(labels, row, strict=True)}
            line = {"source_ref": entry.source_ref, "label": entry.truth.stratum, "confidences": confidences}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
