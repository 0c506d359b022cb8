"""From shares, whatever a kind of head makes of them, to probabilities: temperature scaling.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017: one number, fitted on
predictions of images that the model did not see, makes all answers surer or less sure; no answer changes.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from tasks.train.heads.graphs import joined
from tasks.train.heads.model import Indices, Matrix, Model, Probabilities

EVEN_SHARE = 0.01
"""Part of every answer that is spread evenly over the labels: no silence of trees makes a label impossible."""
MAX_TEMPERATURE = 20.0
MIN_GAIN = 1e-3
"""Log loss that a temperature must save (nats); otherwise the shares stay as they are."""

_CALIBRATED = """
    reduced = Mul (part0_probabilities, kept)
    softened = Add (reduced, even)
    logs = Log (softened)
    logits = Div (logs, temperature)
    probabilities = Softmax <axis = 1> (logits)
"""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A model whose answers are made surer (temperature below 1) or less sure (above)."""

    model: Model
    temperature: float

    def probabilities(self, features: Matrix) -> Probabilities:
        """Return N x L probabilities."""
        return calibrated(self.model.probabilities(features), self.temperature)

    def to_onnx(self) -> onnx.ModelProto:
        """Return the model's graph and what follows."""
        part = self.model.to_onnx()
        labels = part.graph.output[-1].type.tensor_type.shape.dim[1].dim_value
        constants = {"kept": 1.0 - EVEN_SHARE, "even": EVEN_SHARE / labels, "temperature": self.temperature}
        singles = {name: np.float32(value) for name, value in constants.items()}
        return joined([part], _CALIBRATED, labels, singles)


def calibrated(shares: Probabilities, temperature: float) -> Probabilities:
    """Return N x L probabilities of N x L shares."""
    return np.asarray(softmax(_logs(shares) / temperature, axis=1))


def fit_temperature(shares: Probabilities, y: Indices, weights: NDArray[np.float64] | None = None) -> float:
    """Return the temperature with the lowest log loss; 1 where none saves enough.

    Args:
        shares: N x L, each row by a model that did not see the image.
        y: N label indices.
        weights: how much each image counts; None counts all alike, which makes a confidence the share of images that
            are right among those given it.
    """
    logs, targets = _logs(shares), _careful_targets(y, shares.shape[1])

    def loss(log_temperature: float) -> float:
        likelihoods = log_softmax(logs / np.exp(log_temperature), axis=1)
        return float(np.average(-(targets * likelihoods).sum(axis=1), weights=weights))

    limit = float(np.log(MAX_TEMPERATURE))
    best = minimize_scalar(loss, bounds=(-limit, limit), method="bounded")
    return float(np.exp(best.x)) if loss(0.0) - best.fun >= MIN_GAIN else 1.0


def _logs(shares: Probabilities) -> Probabilities:
    return np.asarray(np.log(shares * (1.0 - EVEN_SHARE) + EVEN_SHARE / shares.shape[1]))


def _careful_targets(y: Indices, labels: int) -> Probabilities:
    """Return N x L targets short of 1, as if each label had one image more on either side.

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999: without them, a few images that are all told apart
    would make every answer certain.
    """
    counts = np.bincount(y, minlength=labels)
    own = ((counts + 1.0) / (counts + 2.0))[y, None]
    return np.asarray(np.where(y[:, None] == np.arange(labels), own, (1.0 - own) / (labels - 1)))
