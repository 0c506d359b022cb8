"""What the keys of all trainings in the content store are made of."""

from typing import Any

from tasks.bundle.preprocessing import Steps
from tasks.manifest.records import Manifest

STAGE_VERSION = "10"
SHARED_LIBRARIES = ("numpy", "onnx", "onnxruntime", "opencv-python-headless", "pillow")


def inputs_of(manifest: Manifest) -> dict[str, str]:
    """Return what every training learns from."""
    return {
        "manifest": manifest.manifest_digest,
        # The bundle names its dataset's version, of which boxes are a part that no label shows.
        "dataset": manifest.dataset_digest,
        "name": manifest.dataset_name,
    }


def shape_of(steps: Steps, folds: int) -> dict[str, Any]:
    """Return what happens to every image before, and the number of folds of the estimate."""
    return {"folds": folds, "steps": [step.model_dump(mode="json") for step in steps]}
