import numpy as np
import pytest
import timm
import torch
from torch import nn

from tasks.errors import RequestError
from tasks.train.classifier.graph import Graph
from tasks.train.classifier.network import CNN
from tasks.train.heads.calibration import calibrated
from tasks.train.heads.targets import calibrated_by
from tasks.train.learning.frozen import export_frozen
from tests.tasks.train.classifier.painted import network

STAGES = {CNN: 4, "resnet18": 5, "resnet50": 5, "tf_efficientnet_lite0": 9}


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "tf_efficientnet_lite0"])
def test_stages_make_the_backbone_of_timm(backbone):
    made = network(backbone).eval()
    whole = timm.create_model(backbone, pretrained=False, num_classes=0).eval()
    whole.load_state_dict(made.body.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = made.head(whole(images))
        torch.testing.assert_close(made(images), expected, atol=1e-4, rtol=1e-4)
    assert len(made.stages) == STAGES[backbone]


@pytest.mark.parametrize("backbone", [CNN, "resnet18"])
@pytest.mark.parametrize("frozen", [0, 2, 3, 99, None])
def test_frozen_stages_do_not_learn_and_change_nothing(backbone, frozen):
    made = network(backbone, frozen)
    count = STAGES[backbone] if frozen is None else min(frozen, STAGES[backbone])
    assert made.frozen_stages == count
    made.train()
    for place, stage in enumerate(made.stages):
        assert all(one.requires_grad == (place >= count) for one in stage.parameters())
        norms = [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms
        assert all(module.training == (place >= count) for module in norms)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(made.eval()(images), network(backbone, 0).eval()(images))


def test_pretrained_network_keeps_its_statistics():
    made = network("resnet18", 1, is_pretrained=True).train()
    norms = [module for module in made.modules() if isinstance(module, nn.BatchNorm2d)]
    assert made.training
    assert not any(module.training for module in norms)
    assert made.stages[1][0].conv1.weight.requires_grad


@pytest.mark.parametrize("name", ["resnet19", "vit_tiny_patch16_224", "mobilenetv3_small_050", "cnn2"])
def test_other_network_is_one_sentence(name):
    with pytest.raises(RequestError, match=r"training\.network\.backbone .*resnet18") as caught:
        network(name)
    assert "\n" not in caught.value.message


def test_exported_stages_give_what_torch_gives(tmp_path):
    made = network(CNN, 3).eval()
    run = export_frozen(made, 32, tmp_path / "frozen.onnx", "cpu")
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(made.learning(run(images)), made(images), atol=1e-4, rtol=1e-4)
    assert export_frozen(network(CNN, 0), 32, tmp_path / "none.onnx", "cpu") is None


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_graph_gives_calibrated_probabilities(temperature):
    made = network(labels=3).eval()
    with torch.no_grad():
        made.head.weight.mul_(2000)
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        found = Graph(made, temperature)(images).numpy()
        shares = made(images).double().softmax(dim=1).numpy()
    np.testing.assert_allclose(found, calibrated(shares, temperature), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    assert np.ptp(found) > 0.01


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_graph_of_several_labels_answers_each_by_itself(temperature):
    made = network(labels=3, is_multi_label=True).eval()
    with torch.no_grad():
        made.head.weight.mul_(2000)
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        found = Graph(made, temperature)(images).numpy()
        shares = made(images).double().sigmoid().numpy()
    for label in range(3):
        both = np.column_stack([1.0 - shares[:, label], shares[:, label]])
        np.testing.assert_allclose(found[:, label], calibrated(both, temperature)[:, 1], atol=1e-5)
    np.testing.assert_allclose(found, calibrated_by(temperature, shares, shares > 0.5), atol=1e-5)
    assert np.ptp(found.sum(axis=1)) > 0.01
