"""What MLflow has before its first run."""

import subprocess
import sys

import pytest

ASK = """
from pathlib import Path
from tasks.stores.home import Home
from tasks.tracking.provisioning import Roles
Roles(Home(Path("home"), "http://127.0.0.1:9", "http://127.0.0.1:9"), {})._client()
"""


@pytest.mark.slow
def test_way_to_the_users_says_nothing_by_itself(tmp_path):
    """It imports MLflow's whole server, which warns of its own libraries."""
    asked = subprocess.run([sys.executable, "-c", ASK], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (asked.stdout, asked.stderr) == ("", "")
