"""How much a classifier rests on each kind of its features: the drop of macro-F1 when that kind tells nothing.

Permutation importance: the values of one kind are shuffled among images that the classifier did not learn from, and
nothing is fitted anew: Breiman, "Random Forests", Machine Learning 45, 2001, section 10; of groups of columns:
Gregorutti, Michel and Saint-Pierre, "Grouped variable importance with random forests", 2015.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

Drops = Mapping[str, Sequence[float]]
"""Of one fold: by kind of features, the drop of macro-F1 in each shuffle."""


class KindImportance(BaseModel, frozen=True):
    """What one kind of features is worth to a classifier.

    Attributes:
        kind: its name; `stages` stand apart by how large the patches are that they look at.
        drop: of the folds' mean macro-F1 when its values are shuffled, mean over the shuffles; below 0 where chance
            did better.
        drop_std: standard deviation over the shuffles.
        folds: number of folds whose classifier saw it; in the others shuffling changes nothing.
    """

    kind: str
    drop: float
    drop_std: float
    folds: int


class Importances(BaseModel, frozen=True):
    """All kinds that a classifier saw in any fold, the most important first.

    Attributes:
        folds: number of all folds.
        shuffles: number of shuffles of each kind in each fold.
        kinds: of one kind alone there is nothing to compare.
    """

    schema_version: int = 1
    folds: int
    shuffles: int
    kinds: tuple[KindImportance, ...]


def pool_drops(folds: Sequence[Drops]) -> Importances | None:
    """Return the importances over all folds, each weighing alike; None where no fold has any.

    Args:
        folds: as many shuffles in each.
    """
    # In the order in which the folds name them: sets have none, and equal inputs give equal records.
    names = list(dict.fromkeys(name for drops in folds for name in drops))
    if not names:
        return None
    shuffles = len(next(values for drops in folds for values in drops.values()))
    kinds = [_importance(name, folds, shuffles) for name in names]
    return Importances(
        folds=len(folds), shuffles=shuffles, kinds=tuple(sorted(kinds, key=lambda one: (-one.drop, one.kind)))
    )


def _importance(name: str, folds: Sequence[Drops], shuffles: int) -> KindImportance:
    nothing = [0.0] * shuffles
    over_folds = np.array([drops.get(name, nothing) for drops in folds]).mean(axis=0)
    return KindImportance(
        kind=name,
        drop=float(over_folds.mean()),
        drop_std=float(over_folds.std(ddof=1)) if shuffles > 1 else 0.0,
        folds=sum(name in drops for drops in folds),
    )
