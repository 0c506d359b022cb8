"""What the inference test tells the stages after it."""

from pydantic import BaseModel

from tasks.stores.content import StageRecord


class InferenceOutcome(BaseModel, frozen=True, extra="forbid"):
    """How the registered model fared when a fresh process fetched and ran it.

    Attributes:
        passed: whether every check held.
        reasons: a sentence per check that failed.
        warnings: what else a person should know, a sentence each; of a rollback, which these do not hold up.
        accuracy: share of test images that are right: of a classifier the top label is true, or where there may be any
            number of labels those and no other are given, of a detector all boxes are found and none is false; 0 when
            the model could not be run.
        images: number of test images predicted.
        max_confidence_drift: largest difference of a confidence from the one at evaluation.
        max_box_shift_pixels: largest distance of a box's edge from where it was at evaluation (pixels of the image); 0
            of an anomaly model, whose boxes follow from its heat maps.
        max_heat_drift: largest difference of an anomaly model's heat from that at evaluation, as a share of it.
        latency_ms_p50: median time per image, decoding included, one image at a time (milliseconds).
        latency_ms_p95: 95th percentile of the same.
    """

    passed: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    accuracy: float = 0.0
    images: int = 0
    max_confidence_drift: float = 0.0
    max_box_shift_pixels: float = 0.0
    max_heat_drift: float = 0.0
    latency_ms_p50: float = 0.0
    latency_ms_p95: float = 0.0


class InferenceTest(StageRecord, frozen=True):
    """The inference test of one registered version; never reused, for the registry may have changed."""

    outcome: InferenceOutcome
