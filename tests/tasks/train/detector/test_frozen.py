import pytest
import torch

from tasks.errors import TrainingError
from tasks.train.detector.network import Architecture, Graph, build_network, losses_of
from tasks.train.learning import frozen as frozen_module
from tasks.train.learning.frozen import export_frozen
from tests.tasks.train.detector.painted import BACKBONE, INPUT_SIZE

STAGES = 8


def network_with(frozen_stages):
    torch.manual_seed(0)
    return build_network(Architecture(BACKBONE, frozen_stages, 2)).eval()


@pytest.mark.parametrize("frozen_stages", range(STAGES + 1))
def test_division_into_frozen_and_learning_stages_changes_nothing(frozen_stages):
    backbone = network_with(frozen_stages).backbone
    images = torch.randn(2, 3, INPUT_SIZE, INPUT_SIZE)
    with torch.inference_mode():
        whole = backbone.fpn({str(place): one for place, one in enumerate(backbone.body(images))})
        divided = backbone(images)
    assert list(divided) == list(whole)
    assert all(torch.equal(divided[name], whole[name]) for name in whole)


@pytest.mark.parametrize("frozen_stages", [1, 4, 6])
def test_exported_stages_give_what_torch_gives(frozen_stages, tmp_path):
    network = network_with(frozen_stages)
    run = export_frozen(network.backbone, INPUT_SIZE, tmp_path / "frozen.onnx", "cpu")
    for count in (1, 3):
        images = torch.randn(count, 3, INPUT_SIZE, INPUT_SIZE).contiguous(memory_format=torch.channels_last)
        for found, expected in zip(run(images), network.backbone.frozen(images), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        for found, expected in zip(Graph(network).learning(run(images)), Graph(network)(images), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_losses_are_the_same_and_reach_the_learning_stages(tmp_path):
    network = network_with(4)
    run = export_frozen(network.backbone, INPUT_SIZE, tmp_path / "frozen.onnx", "cpu")
    network.train()
    images = torch.randn(2, 3, INPUT_SIZE, INPUT_SIZE)
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    expected = losses_of(network, images, [target, target])
    found = losses_of(network, images, [target, target], run)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, atol=1e-3, rtol=1e-3)
    sum(found.values()).backward()
    graded = [name for name, one in network.named_parameters() if one.grad is not None and one.grad.abs().max() > 0]
    assert any(name.startswith("backbone.body.blocks.3.") for name in graded)
    assert not any(name.startswith(("backbone.body.conv_stem", "backbone.body.blocks.2.")) for name in graded)


@pytest.mark.parametrize(("frozen_stages", "device"), [(0, "cpu"), (4, "cuda:0")], ids=["nothing frozen", "a card"])
def test_nothing_is_exported_where_it_helps_nobody(frozen_stages, device, tmp_path):
    path = tmp_path / "frozen.onnx"
    assert export_frozen(network_with(frozen_stages).backbone, INPUT_SIZE, path, device) is None
    assert not path.exists()


def test_an_export_that_differs_is_refused(tmp_path, monkeypatch):
    run_all = frozen_module.OnnxNetwork.run_all
    monkeypatch.setattr(
        frozen_module.OnnxNetwork,
        "run_all",
        lambda self, batch: {name: values + 0.01 for name, values in run_all(self, batch).items()},
    )
    with pytest.raises(TrainingError, match="frozen stages differ"):
        export_frozen(network_with(2).backbone, INPUT_SIZE, tmp_path / "frozen.onnx", "cpu")
