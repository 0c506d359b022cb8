"""What tests of flows share unless a file has a home of its own."""

import shutil

import pytest

from tasks.stores.home import Home
from tests.conftest import reporting_to


@pytest.fixture(scope="module")
def home(exported_home, tmp_path_factory, prefect_url):
    """One home for all tests of a file, for training takes long."""
    root = tmp_path_factory.mktemp("home") / "home"
    shutil.copytree(exported_home.root, root)
    with pytest.MonkeyPatch.context() as patch, reporting_to(prefect_url):
        patch.setenv("KEENEYE_HOME", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Home.from_environment()
