import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder():
    """A folder that the user of PostgreSQL may pass through."""
    path = Path(tempfile.mkdtemp(prefix="keeneye-site-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)
