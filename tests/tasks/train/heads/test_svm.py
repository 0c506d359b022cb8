import numpy as np
import pytest
from scipy.special import softmax
from sklearn.svm import SVC

from tasks.train.heads.model import Options
from tasks.train.heads.scaling import Scaling
from tasks.train.heads.svm import CANDIDATES, fit_svm
from tests.tasks.train.heads.blobs import blobs


@pytest.mark.parametrize("options", CANDIDATES, ids=str)
@pytest.mark.parametrize(("counts", "width"), [((20, 40), 6), ((12, 20, 30), 90)], ids=["2 labels", "3 labels"])
def test_machines_are_those_of_scikit_learn(options: Options, counts: tuple[int, ...], width: int) -> None:
    features, y = blobs(counts, width, 0.5)
    unseen, _ = blobs(counts, width, 0.5, seed=1)
    scaling = Scaling.of(features)
    rows, unseen_rows = scaling.rows(features) / np.sqrt(width), scaling.rows(unseen) / np.sqrt(width)
    kernel = {"kernel": options["kernel"], "gamma": options.get("gamma", "scale")}
    machines = [
        SVC(C=options["penalty"], class_weight="balanced", **kernel).fit(rows, y == label)
        for label in range(len(counts))
    ]
    decisions = np.column_stack([machine.decision_function(unseen_rows) for machine in machines])
    found = next(fit_svm(features, y, [options], 0)).probabilities(unseen)
    np.testing.assert_allclose(found, softmax(decisions, axis=1), atol=0.01)


def test_candidates_do_not_touch_each_other() -> None:
    features, y = blobs((12, 20, 30), 40, 0.5)
    for options, model in zip(CANDIDATES, fit_svm(features, y, CANDIDATES, 0), strict=True):
        alone = next(fit_svm(features, y, [options], 0))
        np.testing.assert_array_equal(model.probabilities(features), alone.probabilities(features))
