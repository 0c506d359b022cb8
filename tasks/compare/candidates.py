"""The order of candidates: simple and cheap ones first."""

ALGORITHMS = (
    *("plain", "logistic", "knn", "svm", "random_forest", "ensemble", "auto"),
    *("transfer", "cnn", "finetune"),
)
"""Each is simpler and cheaper than those behind it, the last three by far."""


def simplicity(candidate: str) -> tuple[bool, int, int, str]:
    """Return a key that sorts candidates, the simplest and cheapest first."""
    algorithm, _, seen = candidate.partition(":")
    return seen == "searched", ALGORITHMS.index(algorithm), seen.count("+"), seen
