"""A registered classifier, a detector with real convolutions, and images for them."""

import numpy as np
import pytest

from tasks.bundle_export.lineage import find_source
from tasks.register.task import register_version
from tests.tasks.bundle_export.conv_detector import write_conv_detector

NAME = "to-export"
LABELS = ("cross", "ring")


@pytest.fixture(scope="session")
def exportable(trained):
    """The trained classifier as a registered version; its home's MLflow is shared with other tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, trained.home.tracking_uri)
        register_version.fn(trained.home, trained.manifest, trained.model, trained.evaluation, trained.named(NAME))
        yield trained


@pytest.fixture(scope="session")
def source(exportable):
    return find_source(exportable.home, f"{NAME}/1")


@pytest.fixture(scope="session")
def detector(tmp_path_factory):
    return write_conv_detector(tmp_path_factory.mktemp("detector") / "bundle", LABELS)


@pytest.fixture(scope="session")
def pictures():
    """Noisy images of several shapes, wider and higher than a network's input and smaller."""
    rng = np.random.default_rng(1)
    made = []
    for height, width in ((48, 48), (70, 90), (130, 64), (40, 100)):
        picture = rng.normal(120, 40, (height, width, 3))
        picture[height // 4 : height // 2, width // 3 : width // 2] += rng.uniform(-100, 100, 3)
        made.append(np.clip(picture, 0, 255).astype(np.uint8))
    return made
