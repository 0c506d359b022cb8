import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flows.config import TrainingConfig
from tasks.bundle.format import file_sha256, read_model_card
from tasks.bundle.predictor import OnnxNetwork, Predictor
from tasks.bundle.preprocessing import frame, prepare_batch, standard_steps
from tasks.errors import TrainingError
from tasks.features.feature_set import FEATURES, FeatureSet
from tasks.features.keypoints import SiftWords
from tasks.ground_truth.manifests import read_manifest
from tasks.train.backbone import divide_by_kind
from tasks.train.build_bundle import MAX_PARITY_DIFFERENCE, build_bundle, require_head_parity, require_parity
from tasks.train.candidates import Classifier, Search, fit_best
from tasks.train.feature_kinds import FeatureKinds, steps_of
from tasks.train.feature_table import FeatureTable, VisualWords
from tasks.train.heads.model import HeadName, Probabilities
from tasks.train.records import OUT_OF_FOLD_FILE
from tasks.train.task import train_model
from tasks.vision.images import RgbImage
from tests.makers import SHAPES, paint_class_folders, paint_shape
from tests.tasks.conftest import INPUT_SIZE, Made

LABELS = ("a", "b", "c")
ENGINEERED = ("hog", "lbp", "colour", "tamura")
WORDS = SiftWords()
SETS = (ENGINEERED, ("sift_words",), ("embedding", "stages", "colour"), ("stages", "sift_words", "lbp"))
STEPS = standard_steps(INPUT_SIZE)


@pytest.fixture(scope="module")
def images() -> list[RgbImage]:
    return [paint_shape(SHAPES[number % 3], 50, (number,)) for number in range(30)]


@pytest.fixture(scope="module")
def features(backbone: Path, images: list[RgbImage]) -> FeatureTable:
    embedded = OnnxNetwork(backbone.read_bytes()).run(prepare_batch(images, STEPS))[:, None]
    framed = [frame(image, STEPS) for image in images]
    engineered = {step.name: FeatureSet((step,)).extract_all(framed)[:, None] for step in steps_of(ENGINEERED)}
    described = [WORDS.describe(image) for image in framed]
    words = VisualWords(WORDS, described, views=1, seed=0)
    return FeatureTable(divide_by_kind(embedded) | engineered, np.arange(len(images)), words)


@pytest.fixture(scope="module")
def classifier(features: FeatureTable) -> Classifier:
    return _fit("logistic", features)


@pytest.fixture(scope="module", params=SETS, ids=" ".join)
def on_set(request: pytest.FixtureRequest, features: FeatureTable) -> Classifier:
    return _fit("svm", features, request.param)


@pytest.fixture(scope="module")
def bundle(backbone: Path, classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("built") / "bundle", backbone, classifier)


def test_bundle_answers_like_its_pieces(
    bundle: Path, images: list[RgbImage], features: FeatureTable, classifier: Classifier
) -> None:
    difference = require_parity(bundle, images, classifier.probabilities(features))
    assert 0.0 <= difference < MAX_PARITY_DIFFERENCE


def test_bundle_of_any_features_answers_like_its_pieces(
    on_set: Classifier, backbone: Path, images: list[RgbImage], features: FeatureTable, tmp_path: Path
) -> None:
    bundle = _build(tmp_path / "bundle", backbone, on_set)
    assert require_head_parity(bundle, on_set, features) < MAX_PARITY_DIFFERENCE
    assert require_parity(bundle, images, on_set.probabilities(features)) < MAX_PARITY_DIFFERENCE
    has_backbone, has_words = bool({"embedding", "stages"} & set(on_set.features)), "sift_words" in on_set.features
    assert {path.name for path in bundle.iterdir()} == {
        *("model.json", "head.onnx"),
        *(["backbone.onnx"] if has_backbone else []),
        *(["vocabulary.npy"] if has_words else []),
    }
    card = read_model_card(bundle)
    assert [step.name for step in card.features.steps] == [kind for kind in on_set.features if kind in FEATURES]
    assert (card.features.vocabulary is not None) == has_words


def test_head_is_compared_on_all_rows(bundle: Path, features: FeatureTable, classifier: Classifier) -> None:
    assert 0.0 <= require_head_parity(bundle, classifier, features) < MAX_PARITY_DIFFERENCE
    other = _fit("svm", features)
    with pytest.raises(TrainingError, match="confidences differ"):
        require_head_parity(bundle, other, features)


def _shifted(rows: Probabilities) -> Probabilities:
    return rows + 2 * MAX_PARITY_DIFFERENCE


def _one_wrong(rows: Probabilities) -> Probabilities:
    changed = rows.copy()
    changed[-1, 0] += 0.01
    return changed


def _no_numbers(rows: Probabilities) -> Probabilities:
    return np.full_like(rows, np.nan)


def _turned(rows: Probabilities) -> Probabilities:
    return rows[:, ::-1]


@pytest.mark.parametrize("change", [_shifted, _one_wrong, _no_numbers, _turned])
def test_other_probabilities_are_refused(
    change: Callable[[Probabilities], Probabilities],
    bundle: Path,
    images: list[RgbImage],
    features: FeatureTable,
    classifier: Classifier,
) -> None:
    with pytest.raises(TrainingError):
        require_parity(bundle, images, change(classifier.probabilities(features)))


def test_equal_inputs_give_equal_bytes(bundle: Path, backbone: Path, features: FeatureTable, tmp_path: Path) -> None:
    again = _build(tmp_path / "again", backbone, _fit("logistic", features))
    assert {path.name: file_sha256(path) for path in bundle.iterdir()} == {
        path.name: file_sha256(path) for path in again.iterdir()
    }


def test_card_tells_what_was_built(bundle: Path) -> None:
    card = read_model_card(bundle)
    assert card.labels == LABELS
    assert card.thresholds == {"a": 0.1, "b": 0.5, "c": 0.9}
    assert card.steps == STEPS
    assert card.provenance == {"seed": 0}
    assert set(card.networks) == {"backbone", "head"}


def test_trained_model_is_sound(trained: Made) -> None:
    model = trained.model
    assert model.parity_difference <= MAX_PARITY_DIFFERENCE
    assert Predictor.open(model.bundle_path, expected_digest=model.bundle_digest).card.labels == trained.manifest.labels
    learned = [
        entry for split in ("train", "validation") for entry in read_manifest(trained.manifest.manifest_path(split))
    ]
    lines = (Path(model.entry_path) / OUT_OF_FOLD_FILE).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(learned) == model.cross_validated.images


def test_training_again_elsewhere_gives_the_same_bundle(
    trained: Made, make_trained: Callable[[Path], Made], tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(trained.source, tmp_path / "colours again"))
    again = make_trained(copied)
    card, other = (read_model_card(made.model.bundle_path) for made in (trained, again))
    assert other.networks == card.networks
    assert other.thresholds == card.thresholds


def test_bundle_names_the_version_it_learned_from(trained: Made) -> None:
    # Boxes are a part of a dataset's version that the manifests of a classifier do not show.
    later = trained.manifest.model_copy(update={"dataset_digest": "e" * 64})
    request = trained.config()
    model = train_model.fn(trained.home, later, request)
    assert read_model_card(model.bundle_path).dataset_digest == "e" * 64
    assert read_model_card(trained.model.bundle_path).dataset_digest == trained.manifest.dataset_digest


@pytest.mark.parametrize(("name", "option"), [("svm", "penalty"), ("knn", "neighbours")])
def test_head_of_another_kind_is_trained(trained: Made, name: str, option: str) -> None:
    request = trained.config(training=TrainingConfig(input_size=INPUT_SIZE, algorithm=name))
    model = train_model.fn(trained.home, trained.manifest, request)
    card = read_model_card(model.bundle_path)
    assert card.provenance["algorithm"] == model.chosen["algorithm"] == name
    assert card.provenance[option] == model.chosen[option]
    assert model.bundle_digest != trained.model.bundle_digest
    assert model.cross_validated.calibration_error is not None


@pytest.mark.parametrize("counts", [{"round": 12, "square": 12, "ring": 4}], ids=str)
def test_smallest_dataset_that_is_accepted_can_be_trained(
    counts: dict[str, int], make_trained: Callable[[Path], Made], tmp_path: Path
) -> None:
    made = make_trained(paint_class_folders(tmp_path / "few", counts))
    assert made.manifest.images["train"]["ring"] == 3
    assert set(made.evaluation.metrics.per_label) == set(counts)


def _fit(name: HeadName, features: FeatureTable, kinds: FeatureKinds = ("embedding",)) -> Classifier:
    return fit_best(Search((name,), (kinds,), 0), features, np.arange(len(features)) % 3)


def _build(folder: Path, backbone: Path, classifier: Classifier) -> Path:
    build_bundle(
        folder,
        backbone=backbone,
        classifier=classifier,
        labels=LABELS,
        thresholds={"a": 0.1, "b": 0.5, "c": 0.9},
        steps=STEPS,
        dataset_digest="d" * 64,
        provenance={"seed": 0},
    )
    return folder
