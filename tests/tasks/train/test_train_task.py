"""The train stage for classification, as the flow calls it, with a real store."""

import re

import pytest

from flows.config import CropConfig, PreprocessingConfig, TrainingConfig
from tasks.bundle.adjustments import Clahe, Crop, Denoise, Grey
from tasks.bundle.format import read_model_card
from tasks.bundle.preprocessing import Letterbox, Normalise, standard_steps
from tasks.stores.home import Home
from tasks.train.feature_kinds import AUTO_SETS
from tasks.train.task import train_model
from tests.tasks.conftest import INPUT_SIZE, QUICK

PREPROCESSING = PreprocessingConfig(crop=CropConfig(left=0.25, width=0.5), denoise=3, clahe=2.0, grey=True)
ADJUSTMENTS = (Crop(left=0.25, width=0.5), Denoise(diameter=3), Clahe(clip_limit=2.0), Grey())


@pytest.mark.parametrize(
    ("preprocessing", "adjustments"),
    [
        pytest.param(PREPROCESSING, ADJUSTMENTS, id="all"),
        pytest.param(PreprocessingConfig(), (), id="none"),
    ],
)
def test_bundle_prepares_images_as_was_asked(preprocessing, adjustments, trained):
    training = QUICK.model_copy(update={"preprocessing": preprocessing})
    model = train_model.fn(trained.home, trained.manifest, trained.config(training=training))
    assert read_model_card(model.bundle_path).steps == standard_steps(INPUT_SIZE, adjustments)
    assert model.reused == (not adjustments)
    assert model.parity_difference < 1e-4


def test_padded_images_are_padded_in_every_prediction(trained):
    preprocessing = PreprocessingConfig(grey=True, framing="letterbox")
    training = QUICK.model_copy(update={"preprocessing": preprocessing})
    model = train_model.fn(trained.home, trained.manifest, trained.config(training=training))
    assert read_model_card(model.bundle_path).steps == (Grey(), Letterbox(size=INPUT_SIZE), Normalise())
    assert model.input_size == INPUT_SIZE


def test_backbone_and_engineered_features_are_seen_side_by_side(trained):
    training = QUICK.model_copy(update={"features": ("colour", "sift_words", "embedding")})
    model = train_model.fn(trained.home, trained.manifest, trained.config(training=training))
    assert model.chosen["features"] == "embedding, colour and sift_words"
    assert {path.name for path in model.bundle_path.iterdir()} == {
        *("model.json", "backbone.onnx", "head.onnx", "vocabulary.npy")
    }
    assert model.parity_difference < 1e-4


def test_engineered_features_alone_need_no_backbone(trained, tmp_path):
    home = Home(tmp_path, "", "")
    training = QUICK.model_copy(update={"features": ("lbp", "colour")})
    model, again = (train_model.fn(home, trained.manifest, trained.config(training=training)) for _ in range(2))
    assert {path.name for path in model.bundle_path.iterdir()} == {"model.json", "head.onnx"}
    assert not [path for path in home.root.rglob("*") if "backbone" in path.name or "embedding" in path.name]
    assert (model.reused, again.reused) == (False, True)
    assert model.cross_validated.accuracy > 0.6


def test_what_is_left_open_is_chosen_by_what_was_not_learned_from(trained):
    training = TrainingConfig(input_size=INPUT_SIZE, limit="0.1s")
    model = train_model.fn(trained.home, trained.manifest, trained.config(training=training))
    card = read_model_card(model.bundle_path)
    *trials, network = model.trials
    best = min(trials, key=lambda trial: trial.log_loss)
    assert best.name.startswith(f"{model.chosen['algorithm']} on {model.chosen['features']}")
    assert card.provenance["features"] == model.chosen["features"]
    assert len(trials) == 2 * len(AUTO_SETS) + 4
    assert [trial for trial in trials if trial.kept] == [best]
    assert (network.name, network.log_loss, network.kept) == ("finetune", None, False)
    assert re.fullmatch(r"not tried: .* up to \d+ (s|min), and the limit is 0\.1s \(training\.limit\)", network.note)
    assert model.parity_difference < 1e-4
    assert model.cross_validated.macro_f1 >= trained.model.cross_validated.macro_f1 - 0.05
