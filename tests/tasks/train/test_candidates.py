from functools import partial
from itertools import accumulate, pairwise

import numpy as np
import pytest

from tasks.train import candidates
from tasks.train.backbone import FEATURE_WIDTHS
from tasks.train.candidates import AUTO_HEADS, Search, fit_best, listed
from tasks.train.cross_validation import cross_validate
from tasks.train.feature_kinds import AUTO_SETS, CHEAP_SET, steps_of
from tasks.train.feature_table import FeatureTable
from tasks.train.heads.model import Indices, Views
from tasks.train.heads.search import balanced_log_loss

ENGINEERED_WIDTHS = {step.name: step.width for step in steps_of(CHEAP_SET)}
WIDTHS = {**FEATURE_WIDTHS, **ENGINEERED_WIDTHS}
WIDTH = sum(WIDTHS.values())
EMBEDDING, STAGES = FEATURE_WIDTHS["embedding"], FEATURE_WIDTHS["stages"]
AUTO = Search.of(None, (), 0)
LABELS = ("a", "b", "c")


def noise(images: int, views: int = 1, seed: int = 0) -> tuple[Views, Indices]:
    """Features that say nothing of the labels; the views of an image are almost the image."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(images, 1, WIDTH))
    return (base + 0.01 * rng.normal(size=(images, views, WIDTH))).astype(np.float32), np.arange(images) % len(LABELS)


def table(features: Views) -> FeatureTable:
    """All kinds that are tried unasked, side by side in the order of `WIDTHS`."""
    ends = pairwise(accumulate(WIDTHS.values(), initial=0))
    return FeatureTable.of({kind: features[..., slice(*end)] for kind, end in zip(WIDTHS, ends, strict=True)})


def telling(features: Views, y: Indices, columns: slice, distance: float) -> Views:
    """Let some columns say the label, in all views."""
    centres = np.random.default_rng(1).normal(size=(len(LABELS), features[..., columns].shape[-1]))
    told = features.copy()
    told[..., columns] += distance * centres[y][:, None]
    return told


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        pytest.param(slice(0, EMBEDDING), ("embedding",), id="embedding"),
        pytest.param(slice(EMBEDDING, EMBEDDING + STAGES), ("stages",), id="stages"),
        pytest.param(slice(EMBEDDING + STAGES, WIDTH), CHEAP_SET, id="engineered"),
    ],
)
def test_features_that_tell_the_labels_are_found(columns: slice, expected: tuple[str, ...]) -> None:
    features, y = noise(36)
    found = fit_best(AUTO, table(telling(features, y, columns, 0.4)), y)
    assert found.features == expected
    assert found.out_of_fold.argmax(axis=1).tolist() == y.tolist()


@pytest.mark.parametrize(
    ("distance", "expected"),
    [pytest.param(0.13, ("embedding",), id="hardly better"), pytest.param(0.15, CHEAP_SET, id="surely better")],
)
def test_engineered_features_are_kept_where_they_are_surely_better(distance: float, expected: tuple[str, ...]) -> None:
    features, y = noise(36)
    told = telling(features, y, slice(0, EMBEDDING), 0.1)
    told = telling(told, y, slice(EMBEDDING + STAGES, WIDTH), distance)
    found = fit_best(AUTO, table(told), y)
    best = min(found.trials, key=lambda trial: trial.log_loss)
    assert listed(CHEAP_SET) in best.name
    assert found.features == expected
    (kept,) = (trial for trial in found.trials if trial.kept)
    of_set = [trial for trial in found.trials if listed(expected) in trial.name]
    assert kept == min(of_set, key=lambda trial: trial.log_loss)


def test_what_is_kept_has_the_lowest_loss_and_all_are_told() -> None:
    features, y = noise(30, views=2)
    found = fit_best(AUTO, table(telling(features, y, slice(0, EMBEDDING), 0.1)), y)
    losses = [trial.log_loss for trial in found.trials]
    assert min(losses) == pytest.approx(balanced_log_loss(found.out_of_fold, y), abs=1e-4)
    names = [trial.name for trial in found.trials]
    # Each head on each set of features, their ensemble on the better set, and all three again with views.
    assert len(names) == len(set(names)) == len(AUTO_SETS) * len(AUTO_HEADS) + 1 + len(AUTO_HEADS) + 1


@pytest.mark.parametrize(
    ("rows", "plain", "viewed"),
    [
        pytest.param(29, (), (), id="never"),
        pytest.param(30, ("svm", "ensemble"), (), id="on views"),
        pytest.param(60, ("svm", "ensemble"), ("svm", "ensemble"), id="enough room"),
    ],
)
def test_what_compares_every_two_is_left_out_where_they_are_too_many(
    rows: int, plain: tuple[str, ...], viewed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "MAX_SVM_ROWS", rows)
    features, y = noise(30, views=2)
    search = Search(AUTO_HEADS, (("embedding",),), 0)
    names = [trial.name for trial in fit_best(search, table(features), y).trials]
    of_plain = [name.split()[0] for name in names if "views" not in name]
    of_views = [name.split()[0] for name in names if "views" in name]
    assert (of_plain, of_views) == (["logistic", *plain], ["logistic", *viewed])


def test_svm_that_was_asked_for_is_tried_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "MAX_SVM_ROWS", 1)
    features, y = noise(12)
    assert fit_best(Search(("svm",), (("embedding",),), 0), table(features), y).head.kind == "svm"


def test_simpler_is_kept_on_a_tie() -> None:
    features, y = noise(30)
    told = features[..., :EMBEDDING]
    twice = FeatureTable.of({"embedding": told, "stages": np.zeros_like(told)})
    found = fit_best(Search(("logistic",), (("embedding",), ("embedding", "stages")), 0), twice, y)
    assert found.trials[0].log_loss == found.trials[1].log_loss
    assert found.features == ("embedding",)


def test_views_of_an_image_that_is_held_out_are_not_learned_from() -> None:
    features, y = noise(48, views=3)
    shuffled = np.random.default_rng(2).permutation(y)
    found = fit_best(Search(("logistic",), (("embedding",),), 0), table(features), shuffled)
    assert all(trial.log_loss > 0.9 * np.log(len(LABELS)) for trial in found.trials)


def test_views_help_where_they_carry_what_the_images_lack() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(24) % 3
    centres = rng.normal(size=(3, WIDTH))
    features = (0.12 * centres[y][:, None] + rng.normal(size=(24, 6, WIDTH))).astype(np.float32)
    found = fit_best(Search(("logistic",), (("embedding",),), 0), table(features), y)
    assert found.with_views
    assert found.trials[1].log_loss < found.trials[0].log_loss


def test_choosing_among_much_does_not_find_labels_in_noise() -> None:
    features, y = noise(45, views=2, seed=4)
    estimate, _ = cross_validate(partial(fit_best, AUTO), table(features), y, LABELS, 3, 0, lambda *_: None)
    assert estimate.accuracy < 0.5


@pytest.mark.parametrize(
    ("algorithm", "features", "heads", "sets"),
    [
        pytest.param(None, (), AUTO_HEADS, AUTO_SETS, id="all left to the search"),
        pytest.param("knn", (), ("knn",), AUTO_SETS, id="head wished"),
        pytest.param(None, ("stages", "embedding"), AUTO_HEADS, (("stages", "embedding"),), id="features wished"),
        pytest.param("svm", ("embedding",), ("svm",), (("embedding",),), id="both wished"),
        pytest.param(
            *("svm", ("hog", "stages", "sift_words"), ("svm",), (("stages", "hog", "sift_words"),)),
            id="a backbone's first",
        ),
    ],
)
def test_wishes_are_followed(algorithm: str | None, features: tuple, heads: tuple, sets: tuple) -> None:
    assert Search.of(algorithm, features, 7) == Search(heads, sets, 7)


def test_search_looks_at_the_time_before_each_head() -> None:
    features, y = noise(36, views=2)
    looks = []

    def end_at_the_third() -> None:
        looks.append(True)
        if len(looks) == 3:
            raise TimeoutError

    search = Search(("logistic", "knn"), (("embedding",), ("stages",)), 0)
    with pytest.raises(TimeoutError):
        fit_best(search, table(features), y, check=end_at_the_third)
    looks.extend([True] * 3)
    fit_best(search, table(features), y, check=end_at_the_third)
    assert len(looks) == 3 + 3 + 2 * 2 + 2
