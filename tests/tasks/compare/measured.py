"""Folds and standings as tests of comparisons use them."""

from tasks.compare.records import Standing
from tasks.train.records import MeasuredFold


def measured_fold(macro_f1: float, seconds: float = 1.0, *, fold: int = 0, folds: int = 3, **fields) -> MeasuredFold:
    """Return a fold of 10 images; `fields` replace what is not given."""
    return MeasuredFold(
        **{
            "fold": fold,
            "folds": folds,
            "images": 10,
            "macro_f1": macro_f1,
            "accuracy": macro_f1,
            "fit_seconds": seconds,
            "measured_at": 1000.0 + fold,
            "chosen": {},
            "options": {},
            "ms_per_image": 5.0 if fold == 0 else None,
            "bundle_bytes": 1_000_000 if fold == 0 else None,
            **fields,
        }
    )


def standing(candidate: str, *macro_f1: float, outcome: str = "measured", ms: float = 10.0, **fields) -> Standing:
    """Return how a candidate fared, measured on three folds unless said otherwise."""
    known = {"fit_seconds": 1.0, "ms_per_image": ms, "bundle_bytes": 14_000_000} if macro_f1 else {}
    return Standing(
        **{
            "candidate": candidate,
            "outcome": outcome,
            "folds": 3,
            "macro_f1": macro_f1,
            "accuracy": macro_f1,
            "measured_at": tuple(1000.0 + place for place in range(len(macro_f1))),
            **known,
            **fields,
        }
    )
