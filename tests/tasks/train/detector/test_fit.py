import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.errors import TrainingError
from tasks.metrics.detection import coco_map_50
from tasks.train import epochs as epochs_module
from tasks.train.detector import fit as fit_module
from tasks.train.detector.augment import Augmentation
from tasks.train.detector.fit import NEGATIVES_PER_POSITIVE, fit
from tasks.train.detector.learn import DECODING
from tasks.train.detector.network import losses_of
from tasks.train.detector.predict import detect
from tasks.train.detector.samples import Samples
from tasks.train.epochs import MIN_IMAGES_PER_EPOCH
from tasks.train.learning import loop
from tasks.train.learning.checkpoint import read_checkpoint
from tasks.train.learning.loop import Fitted, rate_at
from tests.tasks.train.detector.painted import (
    LABEL,
    STEPS,
    first_network,
    paint_entries,
    samples_of,
    some_boxes,
)
from tests.tasks.train.schedules import schedule

TIMES = {"seconds", "time"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Samples:
    folder = tmp_path_factory.mktemp("learned")
    return samples_of(folder, paint_entries(folder, [*some_boxes(12), [], []]))


@pytest.fixture
def short_epochs(monkeypatch) -> None:
    """An epoch goes through the images once."""
    monkeypatch.setattr(epochs_module, "MIN_IMAGES_PER_EPOCH", 1)


def weight_score(network) -> dict[str, float]:
    """A figure that only the weights decide."""
    return {"validation_map": float(network.head.classification_head.cls_logits.bias.detach().abs().sum())}


def run(samples, folder: Path, *, validate=None, frozen_stages=3, network=None, **changes) -> Fitted:
    tell, report = changes.pop("tell", lambda row: None), changes.pop("report", lambda done, total: None)
    network = network or first_network(frozen_stages=frozen_stages)
    return fit(network, samples, STEPS[1], schedule(**changes), folder / "checkpoint.pt", validate, tell, report)


def state_of(network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_times(history):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in history]


def test_learns_to_find_bright_parts(samples, tmp_path):
    fresh = samples_of(tmp_path, paint_entries(tmp_path, some_boxes(10, seed=5), name="fresh"))

    def validate(network):
        found = detect(network, fresh, [LABEL], STEPS, DECODING)
        return {"validation_map": coco_map_50(fresh.truths, found, [LABEL])}

    fitted = run(samples, tmp_path, validate=validate, epochs=5, learning_rate=2e-3, augmentation="light")
    losses = [row["loss"] for row in fitted.history]
    assert losses[-1] < 0.7 * losses[0]
    assert fitted.history[-1]["validation_map"] > 0.8
    assert not fitted.network.training


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_training_that_was_killed_ends_as_if_it_was_not(killed_after, samples, tmp_path):
    def die(row):
        if row["epoch"] == killed_after:
            raise KeyboardInterrupt

    options = {"epochs": 3, "validate": weight_score, "augmentation": "standard"}
    (tmp_path / "whole").mkdir()
    whole = run(samples, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        run(samples, tmp_path, tell=die, **options)
    steps, told = [], []
    resumed = run(
        samples, tmp_path, report=lambda done, total: steps.append(done), tell=lambda row: told.append(row), **options
    )
    assert equal(state_of(resumed.network), state_of(whole.network))
    assert resumed.best_epoch == whole.best_epoch
    assert without_times(resumed.history) == without_times(whole.history)
    assert [row["epoch"] for row in told] == [1, 2, 3]
    per_epoch = steps[-1] // 3
    assert steps[0] == min(killed_after * per_epoch + 1, 3 * per_epoch)


@pytest.mark.usefixtures("short_epochs")
def test_epoch_that_was_cut_is_learned_anew(samples, tmp_path):
    def die(done, total):
        if done == total - 1:
            raise KeyboardInterrupt

    options = {"epochs": 2, "augmentation": "light"}
    (tmp_path / "whole").mkdir()
    whole = run(samples, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        run(samples, tmp_path, report=die, **options)
    assert len(read_checkpoint(tmp_path / "checkpoint.pt").history) == 1
    assert equal(state_of(run(samples, tmp_path, **options).network), state_of(whole.network))


@pytest.mark.usefixtures("short_epochs")
def test_checkpoint_that_cannot_be_read_is_no_reason_to_stop(samples, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"half of a checkpoint")
    assert [row["epoch"] for row in run(samples, tmp_path, epochs=1).history] == [1]
    assert len(read_checkpoint(tmp_path / "checkpoint.pt").history) == 1


SCORES = {
    "stops": ([0.1, 0.3, 0.2, 0.25, 0.2, 0.2], 2, 4, 2),
    "goes on while it gets better": ([0.1, 0.2, 0.15, 0.3, 0.4], 2, 5, 5),
    "later of equal ones": ([0.3, 0.3, 0.1], 5, 3, 2),
    "equal is not better": ([0.5, 0.5, 0.5, 0.5, 0.5], 2, 3, 3),
    "nothing found yet": ([0.0, 0.0, 0.0], 1, 3, 3),
    "found late": ([0.0, 0.0, 0.2, 0.1, 0.3], 1, 4, 3),
    "first is best": ([0.9, 0.1, 0.1, 0.1], 1, 2, 1),
}


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize(("scores", "patience", "epochs", "best"), SCORES.values(), ids=SCORES.keys())
def test_best_epoch_is_kept_and_learning_ends_in_time(scores, patience, epochs, best, samples, tmp_path):
    averages = []

    def validate(network):
        averages.append(state_of(network))
        return {"validation_map": scores[len(averages) - 1]}

    fitted = run(
        samples.take([0, 1]), tmp_path, validate=validate, epochs=len(scores), patience=patience, learning_rate=1e-2
    )
    assert len(fitted.history) == len(averages) == epochs
    assert fitted.best_epoch == best
    assert equal(state_of(fitted.network), averages[best - 1])
    assert all(not equal(averages[best - 1], other) for place, other in enumerate(averages) if place != best - 1)


@pytest.mark.usefixtures("short_epochs")
def test_without_validation_the_last_epoch_is_kept(samples, tmp_path):
    fitted = run(samples.take([0, 1]), tmp_path, epochs=3, patience=1)
    assert (len(fitted.history), fitted.best_epoch) == (3, 3)
    assert equal(state_of(fitted.network), read_checkpoint(tmp_path / "checkpoint.pt").averaged)


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("broken", ["rate", "weights"])
def test_loss_that_is_not_finite_is_one_sentence(broken, samples, tmp_path):
    network = first_network()
    if broken == "weights":
        torch.nn.init.constant_(network.head.classification_head.cls_logits.bias, math.nan)
    with pytest.raises(TrainingError, match=r"in epoch \d+, batch \d+.*training\.detector\.learning_rate") as caught:
        run(
            samples.take([0, 1]),
            tmp_path,
            network=network,
            epochs=4,
            learning_rate=1e6 if broken == "rate" else 1e-3,
        )
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1


@pytest.mark.usefixtures("short_epochs")
def test_gradients_are_clipped(samples, tmp_path, monkeypatch):
    norms = []
    step = torch.optim.AdamW.step

    def watched(self, *args, **options):
        gradients = [one.grad for group in self.param_groups for one in group["params"] if one.grad is not None]
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    monkeypatch.setattr(loop, "MAX_GRADIENT_NORM", 0.01)
    run(samples, tmp_path, epochs=1)
    assert norms == pytest.approx([0.01] * len(norms), rel=1e-3)


@pytest.mark.usefixtures("short_epochs")
def test_new_weights_learn_faster_than_pretrained_ones(samples, tmp_path, monkeypatch):
    seen = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self, *a, **o: (seen.append([group["lr"] for group in self.param_groups]), step(self, *a, **o))[1],
    )
    fitted = run(samples, tmp_path, epochs=2, learning_rate=1e-3, warm_up=0.0)
    expected = [1e-3 * rate_at(place, len(seen), 0.0) for place in range(len(seen))]
    np.testing.assert_allclose(seen, [(0.2 * rate, rate) for rate in expected])
    assert fitted.history[-1]["learning_rate"] == pytest.approx(expected[-1])


@pytest.mark.parametrize(
    ("positives", "negatives", "batch"), [(3, 0, 8), (3, 1, 2), (3, 40, 8), (70, 90, 8), (1, 5, 4)]
)
def test_epoch_has_all_boxes_and_some_negatives(positives, negatives, batch):
    boxes = (np.zeros((1, 4), np.float32),) * positives + (np.zeros((0, 4), np.float32),) * negatives
    nothing = ((),) * len(boxes)
    samples = Samples(np.zeros((len(boxes), 1, 1, 3), np.uint8), boxes, nothing, nothing, nothing)
    batches = fit_module._batches_per_epoch(samples, batch)
    torch.manual_seed(0)
    epochs = [list(fit_module._epoch_batches(samples, batches)) for _ in range(2)]
    for epoch in epochs:
        assert len(epoch) == batches
        assert max(map(len, epoch)) <= batch
        assert max(map(len, epoch)) - min(map(len, epoch)) <= 1
        places = [place for one in epoch for place in one]
        assert len(places) >= MIN_IMAGES_PER_EPOCH
        counts = [places.count(place) for place in range(positives)]
        assert len(set(counts)) == 1
        part = sum(place >= positives for place in places)
        assert part == counts[0] * min(negatives, math.ceil(NEGATIVES_PER_POSITIVE * positives))
    assert epochs[0] != epochs[1]


def test_images_without_boxes_teach_too(samples):
    negatives = samples.take([12, 13])
    network = first_network().train()
    images, targets = fit_module._load(negatives, [0, 1], Augmentation("standard"), STEPS[1], "cpu")
    losses = losses_of(network, images, targets)
    assert all(math.isfinite(value.item()) for value in losses.values())
    assert losses["bbox_regression"].item() == 0.0
    losses["classification"].backward()
    assert float(network.head.classification_head.cls_logits.weight.grad.abs().sum()) > 0


FROZEN = {
    0: (),
    1: ("conv_stem.", "bn1."),
    3: ("conv_stem.", "bn1.", "blocks.0.", "blocks.1."),
    8: ("conv_stem.", "bn1.", *(f"blocks.{stage}." for stage in range(7))),
}


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("stages", FROZEN)
def test_frozen_stages_keep_their_weights_and_no_statistics_move(stages, samples, tmp_path):
    network = first_network(frozen_stages=stages)
    before = state_of(network)
    run(samples, tmp_path, network=network, epochs=1)
    after = network.state_dict()
    names = [name for name, _ in network.named_parameters()]
    frozen = {name for name in names if name.startswith(tuple(f"backbone.body.{part}" for part in FROZEN[stages]))}
    assert bool(frozen) == bool(stages)
    assert {name for name in names if torch.equal(before[name], after[name])} == frozen
    statistics = [name for name in before if "running_" in name or "num_batches" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)


@pytest.mark.usefixtures("short_epochs")
def test_average_follows_the_weights(samples, tmp_path):
    network = first_network()
    before = state_of(network)
    fitted = run(samples, tmp_path, network=network, epochs=2)
    name = "head.classification_head.cls_logits.weight"
    last, mean = network.state_dict()[name], fitted.network.state_dict()[name]
    assert float((last - mean).norm()) < float((last - before[name]).norm())
    assert not torch.equal(last, mean)
