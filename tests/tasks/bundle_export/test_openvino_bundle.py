"""Bundles for OpenVINO: the same answers, verified digests, the same bytes each time."""

import sys

import numpy as np
import onnx
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.bundle.predictor import OnnxNetwork, Predictor
from tasks.bundle_export.openvino_bundle import SETTINGS, convert_bundle, open_openvino, require_openvino
from tasks.bundle_export.parity import measure_parity
from tasks.bundle_export.plain_head import plain_head
from tasks.errors import BundleError, RequestError
from tasks.train.heads import graphs
from tasks.train.heads.search import fit_head
from tests.tasks.bundle.made_engineered import write_engineered_model


@pytest.fixture(scope="module", params=["classifier", "detector", "engineered features"])
def bundle(request, tmp_path_factory):
    if request.param == "classifier":
        return request.getfixturevalue("exportable").model.bundle_path
    if request.param == "engineered features":
        return write_engineered_model(tmp_path_factory.mktemp("engineered") / "bundle")
    return request.getfixturevalue("detector")


@pytest.fixture(scope="module")
def converted(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ir") / "export"
    return folder, convert_bundle(bundle, folder)


def test_answers_are_those_of_the_bundle(bundle, converted, pictures):
    folder, digest = converted
    original, other = Predictor.open(bundle), open_openvino(folder, expected_digest=digest)
    expected, found = original.predict(pictures), other.predict(pictures)
    assert len({str(answer) for answer in expected}) == len(pictures)
    parity = measure_parity(original.card, expected, found)
    assert parity.confidence_difference < 1e-4
    assert parity.edge_difference_pixels < 0.01
    assert parity.unmatched_boxes == 0


def test_a_batch_answers_as_its_images_one_by_one(converted, pictures):
    other = open_openvino(converted[0])
    prepared = [other.prepare(picture) for picture in pictures]
    one_by_one = [other.predict_prepared([image])[0] for image in prepared]
    together = other.predict_prepared(prepared)
    assert measure_parity(other.card, one_by_one, together).confidence_difference < 1e-5


def test_equal_bundles_give_equal_bytes(bundle, converted, tmp_path):
    convert_bundle(bundle, tmp_path / "again")
    found = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert found == {path.name: path.read_bytes() for path in converted[0].iterdir()}
    assert not [name for name, data in found.items() if b"/tmp" in data]


def test_what_was_changed_is_refused(converted, tmp_path, pictures):
    for path in converted[0].iterdir():
        copy = tmp_path / path.stem / path.suffix[1:]
        copy.mkdir(parents=True)
        for one in converted[0].iterdir():
            (copy / one.name).write_bytes(one.read_bytes())
        (copy / path.name).write_bytes(path.read_bytes() + b" ")
        with pytest.raises(BundleError, match=path.name):
            open_openvino(copy, expected_digest=converted[1])


def test_no_card_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"openvino\.json"):
        open_openvino(tmp_path)


def test_missing_openvino_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RequestError, match=r"keeneye\[openvino\]"):
        require_openvino()


def labelled_features(labels):
    y = np.arange(60) % labels
    return (np.random.default_rng(labels).normal(3, 2, (60, 12)) + y[:, None]).astype(np.float32), y


def fitted_head(kind, labels):
    features, y = labelled_features(labels)
    return features, fit_head(kind, features, y, 0)


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_plain_head_gives_the_probabilities_of_an_older_head(labels):
    features, y = labelled_features(labels)
    older = graphs.converted(make_pipeline(StandardScaler(), LogisticRegression()).fit(features, y), features.shape[1])
    plain = plain_head(older)
    expected, found = (OnnxNetwork(one.SerializeToString()).run(features) for one in (older, plain))
    assert expected.shape == (60, labels)
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize("kind", ["logistic", "svm", "knn"])
@pytest.mark.parametrize("labels", [2, 3])
def test_openvino_gives_the_probabilities_of_the_head(kind, labels, tmp_path):
    openvino = pytest.importorskip("openvino")
    features, head = fitted_head(kind, labels)
    onnx.save(plain_head(head.model.to_onnx()), tmp_path / "head.onnx")
    compiled = openvino.compile_model(tmp_path / "head.onnx", "CPU", SETTINGS)
    found = compiled(features)[compiled.output("probabilities")]
    assert np.abs(found - head.probabilities(features)).max() < 1e-4


def test_forests_are_refused():
    with pytest.raises(BundleError, match="made of trees"):
        plain_head(fitted_head("random_forest", 3)[1].model.to_onnx())
