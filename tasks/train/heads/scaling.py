"""Features brought to mean 0 and variance 1, in numbers that a graph can repeat exactly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.train.heads.model import Matrix

MIN_RELATIVE_SPREAD = 1e-5
"""A feature that varies by less of its own size is constant: what is left are rounding errors of single precision."""

ROWS = "doubles = Cast <to = 11> (features)  centred = Sub (doubles, mean)  rows = Mul (centred, inverse_spread)"
"""`Scaling.rows` as nodes of ONNX. In doubles: distances are small differences of large numbers."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and inverse standard deviation of each feature; the inverse of a constant feature's is 0.

    Attributes:
        mean: F numbers.
        inverse_spread: F numbers.
    """

    mean: NDArray[np.float64]
    inverse_spread: NDArray[np.float64]

    @classmethod
    def of(cls, features: Matrix) -> "Scaling":
        """Measure N x F features."""
        doubles = features.astype(np.float64)
        mean, spread = doubles.mean(axis=0), doubles.std(axis=0)
        varies = spread > MIN_RELATIVE_SPREAD * np.abs(mean)
        return cls(mean, np.divide(1.0, spread, out=np.zeros_like(spread), where=varies))

    def rows(self, features: Matrix) -> NDArray[np.float64]:
        """Return N x F scaled features."""
        return (features.astype(np.float64) - self.mean) * self.inverse_spread

    @property
    def constants(self) -> dict[str, NDArray[np.float64]]:
        """The arrays that `ROWS` names."""
        return {"mean": self.mean, "inverse_spread": self.inverse_spread}
