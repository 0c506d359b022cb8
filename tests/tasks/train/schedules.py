"""Schedules to learn by in tests."""

from tasks.train.learning.loop import Schedule


def schedule(**changes: object) -> Schedule:
    """Return a short schedule without augmentation."""
    fields = {
        "epochs": 2,
        "patience": 10,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "warm_up": 0.1,
        "augmentation": "none",
        "device": "cpu",
    }
    return Schedule(**(fields | changes))
