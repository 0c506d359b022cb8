import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.errors import TrainingError
from tasks.train.classifier import fit as fit_module
from tasks.train.classifier.augment import Augmentation, mixed_up
from tasks.train.classifier.fit import Regularisation, fit, measure, probabilities_of
from tasks.train.classifier.samples import Samples
from tasks.train.epochs import MIN_IMAGES_PER_EPOCH
from tests.tasks.train.classifier.painted import NORMALISE, PLAIN, network, paint_marked_samples, paint_samples
from tests.tasks.train.schedules import schedule


@pytest.fixture(scope="module")
def samples():
    return paint_samples((12, 4))


@pytest.fixture(scope="module")
def held_out():
    return paint_samples((4, 4), seed=9)


def run(learned, held_out, folder: Path, *, made=None, regularisation=PLAIN, tell=lambda row: None, **changes):
    made = made or network()
    times = schedule(**({"learning_rate": 3e-3} | changes))
    return fit(made, learned, held_out, NORMALISE, times, regularisation, folder / "checkpoint.pt", tell=tell)


def state_of(made):
    return {name: tensor.clone() for name, tensor in made.state_dict().items()}


def equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_learns_to_tell_shapes(samples, held_out, tmp_path):
    fitted = run(samples, held_out, tmp_path, epochs=8)
    assert fitted.history[-1]["loss"] < 0.5 * fitted.history[0]["loss"]
    best = fitted.history[fitted.best_epoch - 1]
    assert best["validation_loss"] == min(row["validation_loss"] for row in fitted.history)
    assert best["validation_balanced_accuracy"] > 0.8
    found = probabilities_of(fitted.network, held_out, NORMALISE)
    assert measure(found, held_out.targets)["validation_loss"] == pytest.approx(best["validation_loss"], abs=1e-6)


def test_learns_which_of_several_labels_an_image_carries(tmp_path):
    learned, held_out = paint_marked_samples(48), paint_marked_samples(32, seed=9)
    mixed = Regularisation(mixup=0.2, label_smoothing=0.05, layer_decay=1.0)
    made = network(is_multi_label=True)
    fitted = run(learned, held_out, tmp_path, made=made, regularisation=mixed, epochs=12)
    found = probabilities_of(fitted.network, held_out, NORMALISE)
    best = fitted.history[fitted.best_epoch - 1]
    assert measure(found, held_out.targets) == pytest.approx({name: best[name] for name in best if "valid" in name})
    assert best["validation_balanced_accuracy"] > 0.8
    assert np.ptp(found.sum(axis=1)) > 0.5


def test_training_that_was_killed_ends_as_if_it_was_not(samples, held_out, tmp_path):
    def die(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    options = {"epochs": 3, "augmentation": "strong", "regularisation": Regularisation(0.4, 0.1, 0.5)}
    (tmp_path / "whole").mkdir()
    whole = run(samples, held_out, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        run(samples, held_out, tmp_path, tell=die, **options)
    told = []
    resumed = run(samples, held_out, tmp_path, tell=lambda row: told.append(row["epoch"]), **options)
    assert equal(state_of(resumed.network), state_of(whole.network))
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]
    assert told == [1, 2, 3]


def test_learning_ends_when_it_gets_no_better(samples, held_out, tmp_path, monkeypatch):
    losses = iter([0.5, 0.3, 0.4, 0.3, 0.6, 0.1])
    monkeypatch.setattr(fit_module, "measure", lambda *_: {"validation_loss": next(losses)})
    fitted = run(samples.take(np.array([0, 12])), held_out, tmp_path, epochs=6, patience=3)
    # An equal epoch is kept, but is not better.
    assert (len(fitted.history), fitted.best_epoch) == (5, 4)


def test_loss_that_is_not_finite_is_one_sentence(samples, held_out, tmp_path):
    made = network()
    torch.nn.init.constant_(made.head.bias, math.nan)
    with pytest.raises(TrainingError, match=r"epoch 1, batch 1; lower training\.network\.learning_rate"):
        run(samples, held_out, tmp_path, made=made)


def test_every_label_weighs_alike(samples):
    weights = fit_module._label_weights(samples)
    own = weights[1]
    assert own[1] == pytest.approx(3 * own[0])
    assert float(own[torch.from_numpy(samples.targets)].mean()) == pytest.approx(1.0)
    found = np.array([[0.9, 0.1]] * 12 + [[0.6, 0.4]] * 4)
    figures = measure(found, samples.targets)
    assert figures["validation_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.4)) / 2)
    assert figures["validation_balanced_accuracy"] == 0.5


def test_every_label_and_its_absence_weigh_alike():
    truths = np.array([[True, False]] * 3 + [[False, True]] + [[False, False]] * 4)
    several = Samples(np.zeros((8, 1, 1, 3), np.uint8), np.arange(8), truths, 2)
    weights = fit_module._label_weights(several)
    torch.testing.assert_close(weights, torch.tensor([[8 / 10, 8 / 14], [8 / 6, 8 / 2]]))
    own = torch.where(torch.from_numpy(truths), weights[1], weights[0])
    torch.testing.assert_close(own.mean(dim=0), torch.ones(2))
    figures = measure(np.where(truths, 0.9, 0.4), truths)
    assert figures["validation_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.6)) / 2)
    assert figures["validation_balanced_accuracy"] == 1.0
    one_missed = np.array([[0.4, 0.4]] * 3 + [[0.4, 0.9]] + [[0.4, 0.4]] * 4)
    assert measure(one_missed, truths)["validation_balanced_accuracy"] == 0.75


def test_blended_labels_cost_what_both_would():
    logits, weights = torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    loss = fit_module._binary_cross_entropy

    def cost(logit, truth):
        return -math.log(1 / (1 + math.exp(-logit if truth else logit)))

    whole = loss(logits, torch.tensor([[1.0, 0.0]]), weights, 0.0)
    assert float(whole) == pytest.approx((3 * cost(1, True) + 2 * cost(-2, False)) / 5)
    blended = loss(logits, torch.tensor([[0.75, 0.0]]), weights, 0.0)
    first = 0.75 * cost(1, True) + 0.25 * cost(1, False)
    assert float(blended) == pytest.approx((2.5 * first + 2 * cost(-2, False)) / 4.5)
    smooth = loss(logits[:, :1], torch.ones(1, 1), weights[:, :1], 0.2)
    assert float(smooth) == pytest.approx(0.9 * cost(1, True) + 0.1 * cost(1, False))


def test_label_that_is_not_held_out_counts_nothing():
    figures = measure(np.array([[0.5, 0.25, 0.25]]), np.array([0]))
    assert figures == {"validation_loss": pytest.approx(math.log(2)), "validation_balanced_accuracy": 1.0}


@pytest.mark.parametrize(
    ("backbone", "frozen", "is_pretrained", "shares"),
    [
        ("cnn", 0, False, [1.0] * 5),
        ("resnet18", 3, True, [0.25, 0.5, 1.0]),
        ("resnet18", None, True, [1.0]),
        ("resnet18", 0, False, [1.0] * 6),
    ],
)
def test_stages_near_the_image_learn_more_slowly(backbone, frozen, is_pretrained, shares):
    made = network(backbone, frozen, is_pretrained=is_pretrained)
    groups = fit_module._groups(made, 0.5)
    assert [group["share"] for group in groups] == shares
    learning = {id(one) for one in made.parameters() if one.requires_grad}
    assert {id(one) for group in groups for one in group["params"]} == learning


@pytest.mark.parametrize(("images", "batch"), [(1, 8), (5, 4), (64, 16), (100, 16)])
def test_epoch_has_all_images_equally_often(images, batch):
    batches = fit_module._batches_per_epoch(images, batch)
    torch.manual_seed(0)
    first, second = ([place for one in fit_module._epoch_batches(images, batches) for place in one] for _ in range(2))
    counts = np.bincount(first)
    assert len(set(counts)) == 1
    assert len(first) >= MIN_IMAGES_PER_EPOCH
    assert images == 1 or first != second
    assert max(map(len, fit_module._epoch_batches(images, batches))) <= batch


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_images_and_targets_are_blended_alike(alpha):
    torch.manual_seed(0)
    targets = torch.eye(4)
    images = targets[:, :, None, None].expand(4, 4, 2, 2).clone()
    mixed, blended = mixed_up(images, targets, alpha)
    torch.testing.assert_close(mixed, blended[:, :, None, None].expand(4, 4, 2, 2))
    torch.testing.assert_close(blended.sum(dim=1), torch.ones(4))
    assert alpha < 1.0 or not torch.equal(mixed, images)
    assert mixed_up(images, targets, 0.0) == (images, targets)


def test_targets_of_several_labels_are_blended_as_images_are():
    torch.manual_seed(0)
    targets = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    images = targets[:, :, None, None].expand(3, 2, 2, 2).clone()
    mixed, blended = mixed_up(images, targets, 1.0)
    torch.testing.assert_close(mixed, blended[:, :, None, None].expand(3, 2, 2, 2))
    assert len(blended.sum(dim=1).unique()) > 1
    assert ((blended >= 0) & (blended <= 1)).all()


@pytest.mark.parametrize("strength", ["none", "light", "standard", "strong"])
def test_image_is_changed_as_much_as_is_asked_for(strength, samples):
    torch.manual_seed(0)
    image = samples.image(0)
    changed = [Augmentation(strength)(image) for _ in range(6)]
    assert all(one.shape == image.shape and one.dtype == torch.uint8 and type(one) is torch.Tensor for one in changed)
    assert all(torch.equal(one, image) for one in changed) == (strength == "none")
