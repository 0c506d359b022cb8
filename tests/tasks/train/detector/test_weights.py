import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.errors import RequestError
from tasks.train.detector.weights import CLASS_LAYER, give_first_weights
from tasks.train.earlier import Earlier
from tasks.train.learning.weights import save_weights
from tests.tasks.train.detector.painted import BACKBONE, first_network

EARLIER = ("a", "b", "c")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    network = first_network(labels=len(EARLIER), seed=1)
    torch.nn.init.normal_(network.head.classification_head.cls_logits.bias)
    path = tmp_path_factory.mktemp("earlier") / "weights.safetensors"
    save_weights(network, path)
    return network.state_dict(), path


def test_saved_weights_are_read_again(earlier):
    state, path = earlier
    stored = load_file(path)
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("labels", "record"),
    [
        (("a", "b", "c"), ("a, b, c", "", "")),
        (("c", "a", "b"), ("c, a, b", "", "")),
        (("a", "b", "bb", "c"), ("a, b, c", "bb", "")),
        (("b",), ("b", "", "a, c")),
        (("0", "c", "x"), ("c", "0, x", "a, b")),
        (("x", "y", "z"), ("", "x, y, z", "a, b, c")),
    ],
    ids=["same", "other order", "added", "removed", "both", "all new"],
)
def test_known_labels_keep_what_was_learned(labels, record, earlier):
    state, path = earlier
    network = first_network(labels=len(labels), seed=2)
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    told = give_first_weights(network, BACKBONE, Earlier("models:/e/1", EARLIER, path), labels)
    assert tuple(told[name] for name in ("known_labels", "new_labels", "dropped_labels")) == record
    for name, tensor in network.state_dict().items():
        if not name.startswith(CLASS_LAYER):
            assert torch.equal(tensor, state[name]), name
            continue
        for row, label in enumerate(labels):
            expected = state[name][EARLIER.index(label)] if label in EARLIER else fresh[name][row]
            assert torch.equal(tensor[row], expected), (name, label)


def changed(state, **tensors):
    return {**{name: tensor.contiguous() for name, tensor in state.items()}, **tensors}


STRANGE = {
    "nothing of ours": lambda state: {"weight": torch.zeros(3)},
    "a tensor more": lambda state: changed(state, **{"more": torch.zeros(1)}),
    "a tensor less": lambda state: dict(list(changed(state).items())[1:]),
    "another shape": lambda state: changed(state, **{"backbone.body.conv_stem.weight": torch.zeros(8, 3, 3, 3)}),
    "other channels": lambda state: changed(state, **{f"{CLASS_LAYER}weight": torch.zeros(3, 32, 3, 3)}),
    "fewer rows than labels": lambda state: changed(state, **{f"{CLASS_LAYER}bias": torch.zeros(1)}),
    "no class layer": lambda state: {name: one for name, one in changed(state).items() if CLASS_LAYER not in name},
    "more in the class layer": lambda state: changed(state, **{f"{CLASS_LAYER}scale": torch.zeros(3)}),
}


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE.keys())
@pytest.mark.parametrize("labels", [EARLIER, ("a", "b", "c", "d")], ids=["same labels", "one more"])
def test_detector_that_is_built_differently_is_refused(make, labels, earlier, tmp_path):
    save_file(make(earlier[0]), tmp_path / "weights.safetensors")
    network = first_network(labels=len(labels))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(RequestError, match="built differently") as caught:
        give_first_weights(network, BACKBONE, Earlier("models:/e/1", EARLIER, tmp_path / "weights.safetensors"), labels)
    assert caught.value.exit_code == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
