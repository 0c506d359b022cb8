import re

import pytest
import timm
import torch

from tasks.errors import RequestError
from tasks.train.backbone import packaged_weights_path
from tasks.train.detector.network import OUTPUT_NAMES, STRIDES, Graph
from tasks.train.learning.device import choose_device
from tests.tasks.train.detector.painted import BACKBONE, INPUT_SIZE, first_network


@pytest.mark.parametrize("labels", [1, 3])
def test_graph_gives_what_the_bundle_decodes(labels):
    network = first_network(labels=labels)
    with torch.inference_mode():
        answers = Graph(network).eval()(torch.randn(2, 3, INPUT_SIZE, INPUT_SIZE))
    places = sum((INPUT_SIZE // stride) ** 2 for stride in STRIDES)
    assert [answer.shape for answer in answers] == [(2, places, labels), (2, places, 4), (2, places, 1)]
    assert len(OUTPUT_NAMES) == 3
    assert float(answers[1].min()) >= 0.0


def test_packaged_weights_are_those_of_the_whole_network():
    body = first_network().backbone.body
    whole = timm.create_model(BACKBONE, pretrained=False)
    whole.load_state_dict(
        dict(zip(whole.state_dict(), torch.load(packaged_weights_path(), weights_only=True).values(), strict=True))
    )
    known = whole.state_dict()
    assert all(torch.equal(tensor, known[name]) for name, tensor in body.state_dict().items())
    images = torch.randn(1, 3, INPUT_SIZE, INPUT_SIZE)
    with torch.inference_mode():
        deepest = body.eval()(images)[-1]
        # All that the whole network adds is its last convolution.
        torch.testing.assert_close(
            whole.eval().bn2(whole.conv_head(deepest)), whole.forward_features(images), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("cards", [0, 1, 2])
def test_device(cards, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda:0" if cards else "cpu")
    for number in range(cards):
        assert choose_device(f"cuda:{number}") == f"cuda:{number}"
    with pytest.raises(RequestError, match=re.escape(f"cuda:{cards}")) as caught:
        choose_device(f"cuda:{cards}")
    assert ("1 graphics card " in caught.value.message) == (cards == 1)
    assert caught.value.exit_code == 2
