"""The explaining of answers, as Prefect runs it: heat maps of where a classifier looks, in the content store."""

import json
from collections.abc import Sequence
from pathlib import Path

from flows.config import EvaluationConfig
from tasks import engine
from tasks.bundle.format import ModelCard, bundle_digest, read_model_card
from tasks.bundle.predictor import Predictor
from tasks.compare.records import Standing
from tasks.dataset.entries import ImageEntry, Split
from tasks.evaluate.records import Evaluation, ImagePrediction, read_predictions
from tasks.explain.choice import choose_answers
from tasks.explain.maps import affordable_images, make_maps
from tasks.explain.records import MAPS_FILE, Explanation
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.train.records import BUNDLE_FOLDER, OUT_OF_FOLD_FILE, TrainedModel

STAGE_VERSION = "1"
LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow")


@engine.stage("explain answers")
def explain_answers(
    home: Home, manifest: Manifest, model: TrainedModel, evaluation: Evaluation, wanted: EvaluationConfig
) -> Explanation:
    """Make heat maps of a classifier's answers to test images, errors first; of other models there are none."""
    if manifest.task != "classification" or not wanted.explain:
        return Explanation()
    answers = list(read_predictions(evaluation.predictions_path))
    return _explained(home, manifest, ("test",), model.bundle_path, answers)


@engine.stage("explain the recommended candidate")
def explain_candidate(home: Home, manifest: Manifest, standing: Standing, *, wanted: bool) -> Explanation:
    """Make heat maps of a candidate's answers to the images of the first fold, by the model that learned without it."""
    folder = Path(standing.entry_path)
    if not wanted or not (folder / BUNDLE_FOLDER).is_dir():
        return Explanation()
    answers = _held_out(folder / OUT_OF_FOLD_FILE, read_model_card(folder / BUNDLE_FOLDER))
    return _explained(home, manifest, ("train", "validation"), folder / BUNDLE_FOLDER, answers)


def _explained(
    home: Home, manifest: Manifest, splits: Sequence[Split], bundle: Path, answers: Sequence[ImagePrediction]
) -> Explanation:
    card = read_model_card(bundle)
    chosen = choose_answers(answers, affordable_images(card.steps[-2].width * card.steps[-2].height))
    key = StageKey(
        stage="explain",
        version=STAGE_VERSION,
        inputs={
            "bundle": bundle_digest(bundle),
            "manifest": manifest.manifest_digest,
            "answers": [one.model_dump(mode="json") for one in chosen],
        },
        config={},
        libraries=LIBRARIES,
    )

    def make(folder: Path) -> Explanation:
        entries = {entry.source_ref: entry for split in splits for entry in _entries(manifest, split)}
        predictor, root = Predictor.open(bundle), Path(manifest.roots[splits[0]])
        with engine.progress("hide parts of images", "images") as report:
            maps = list(make_maps(predictor, root, entries, chosen, report))
        lines = (one.model_dump_json(exclude_none=True) for one in maps)
        (folder / MAPS_FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return Explanation(images=len(maps))

    record, path = home.store.reuse_or_make(key, Explanation, make)
    return record.model_copy(update={"entry_path": str(path)})


def _entries(manifest: Manifest, split: Split) -> Sequence[ImageEntry]:
    return list(read_manifest(manifest.manifest_path(split)))


def _held_out(path: Path, card: ModelCard) -> list[ImagePrediction]:
    """Return the answers to the images of a fold, as they would be given at the thresholds of its model."""
    return [
        _answer(row["source_ref"], row["truth"], row["confidences"], card)
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    ]


def _answer(ref: str, truth: Sequence[str], confidences: dict[str, float], card: ModelCard) -> ImagePrediction:
    ranked = dict(sorted(confidences.items(), key=lambda item: -item[1]))
    return ImagePrediction(
        source_ref=ref,
        sha256="",
        truth=tuple(truth),
        confidences=ranked,
        given=tuple(label for label, value in ranked.items() if value >= card.thresholds[label]),
        labels_per_image="any" if card.is_multi_label else None,
    )
