"""What many tests of ingest share: a fresh home, and images to annotate."""

from pathlib import Path

import pytest

from tasks.stores.home import Home
from tests.sources import paint_boxed
from tests.tasks.ingest.annotated_parts import BOXES


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of its own for each test, whose MLflow nobody asks."""
    return Home(tmp_path / "home", "sqlite:///unused.db", "sqlite:///unused.db")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The painted parts, which nobody has annotated yet."""
    return paint_boxed((tmp_path / "parts").resolve(), BOXES)
