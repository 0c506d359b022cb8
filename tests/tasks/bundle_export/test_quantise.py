"""8-bit bundles: the same format, much smaller, close to the floats, the same bytes each time."""

import shutil

import numpy as np
import onnx
import pytest

from tasks.bundle.format import bundle_digest, read_model_card, write_model_card
from tasks.bundle.predictor import OnnxNetwork, Predictor
from tasks.bundle.preprocessing import prepare_batch
from tasks.bundle_export.quantise import FLOAT_CONVOLUTIONS, correct_bias, quantise_bundle, quantise_network
from tasks.errors import RequestError
from tasks.features.vocabulary import VOCABULARY_FILE
from tests.tasks.bundle.made_engineered import write_engineered_model


def samples_of(bundle, pictures):
    card = read_model_card(bundle)
    return lambda: (prepare_batch([picture], card.steps) for picture in pictures)


def test_bundle_without_a_network_is_refused(tmp_path):
    bundle = write_engineered_model(tmp_path / "bundle")
    with pytest.raises(RequestError, match="engineered features only"):
        quantise_bundle(bundle, tmp_path / "int8", lambda: [], 0)
    assert not (tmp_path / "int8").exists()


def test_vocabulary_goes_along(classifier, pictures, tmp_path):
    words, bundle = write_engineered_model(tmp_path / "words"), shutil.copytree(classifier, tmp_path / "bundle")
    shutil.copyfile(words / VOCABULARY_FILE, bundle / VOCABULARY_FILE)
    card = read_model_card(bundle).model_copy(update={"features": read_model_card(words).features})
    write_model_card(bundle, card)
    quantise_bundle(bundle, tmp_path / "int8", samples_of(bundle, pictures[:1]), 1)
    assert read_model_card(tmp_path / "int8").features == card.features


@pytest.fixture(scope="module")
def classifier(exportable):
    return exportable.model.bundle_path


@pytest.fixture(scope="module")
def quantised(classifier, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8") / "bundle"
    digest = quantise_bundle(classifier, folder, samples_of(classifier, pictures), len(pictures))
    assert digest == bundle_digest(folder)
    return folder


def convolutions(path):
    graph = onnx.load(path).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    return [made_by.get(node.input[1], "float") for node in graph.node if node.op_type == "Conv"]


def test_bundle_opens_and_says_what_it_is(classifier, quantised, pictures):
    before, card = read_model_card(classifier), Predictor.open(quantised).card
    assert (card.labels, card.thresholds, card.steps) == (before.labels, before.thresholds, before.steps)
    assert card.provenance["quantised"] == "int8"
    assert card.provenance["quantised_from"] == bundle_digest(classifier)
    assert card.provenance["calibration_images"] == len(pictures)
    assert before.provenance.items() <= card.provenance.items()
    assert bundle_digest(quantised) != bundle_digest(classifier)


def test_backbone_is_in_8_bits_but_for_its_start_and_head_is_as_it_was(classifier, quantised):
    kinds = convolutions(quantised / "backbone.onnx")
    assert kinds[:FLOAT_CONVOLUTIONS] == ["float"] * FLOAT_CONVOLUTIONS
    assert set(kinds[FLOAT_CONVOLUTIONS:]) == {"DequantizeLinear"}
    assert (quantised / "head.onnx").read_bytes() == (classifier / "head.onnx").read_bytes()
    assert onnx.load(quantised / "backbone.onnx").graph.node[-1].name == "correct_bias"
    sizes = [(folder / "backbone.onnx").stat().st_size for folder in (quantised, classifier)]
    assert sizes[0] < 0.35 * sizes[1]


def test_equal_samples_give_equal_bytes(classifier, quantised, pictures, tmp_path):
    quantise_bundle(classifier, tmp_path / "again", samples_of(classifier, pictures), len(pictures))
    assert bundle_digest(tmp_path / "again") == bundle_digest(quantised)


def test_features_lack_nothing_in_the_mean(classifier, pictures, tmp_path):
    samples = samples_of(classifier, pictures)
    quantise_network(classifier / "backbone.onnx", tmp_path / "raw.onnx", samples())
    (tmp_path / "corrected.onnx").write_bytes((tmp_path / "raw.onnx").read_bytes())
    correct_bias(classifier / "backbone.onnx", tmp_path / "corrected.onnx", samples())
    paths = (classifier / "backbone.onnx", tmp_path / "raw.onnx", tmp_path / "corrected.onnx")
    floats, raw, corrected = (_features(path, samples()) for path in paths)
    assert np.abs((raw - floats).mean(axis=0)).max() > 0.01
    assert np.abs((corrected - floats).mean(axis=0)).max() < 1e-5
    assert np.linalg.norm(corrected - floats) < np.linalg.norm(raw - floats) < 0.5 * np.linalg.norm(floats)


def _features(path, inputs):
    network = OnnxNetwork(path.read_bytes())
    return np.concatenate([network.run(batch) for batch in inputs])


def test_detector_finds_nearly_the_same(detector, pictures, tmp_path):
    quantise_bundle(detector, tmp_path / "int8", samples_of(detector, pictures), len(pictures))
    kinds = convolutions(tmp_path / "int8" / "detector.onnx")
    assert kinds.count("DequantizeLinear") == len(kinds) - FLOAT_CONVOLUTIONS > 0
    floats, bytes_ = Predictor.open(detector), Predictor.open(tmp_path / "int8")
    for before, after in zip(floats.predict(pictures), bytes_.predict(pictures), strict=True):
        assert before.boxes
        gaps = [abs(after.confidences[label] - value) for label, value in before.confidences.items()]
        assert 0 < max(gaps) < 0.05
