"""One home with models and two endpoints on it: one with keys, one without; for the whole session."""

import pytest

from tests.deployments.endpoint.served import make_home, serving, write_keys


@pytest.fixture(scope="session")
def served_home(tmp_path_factory):
    return make_home(tmp_path_factory.mktemp("served") / "home")


@pytest.fixture(scope="session")
def endpoint(served_home, tmp_path_factory):
    """Answers those who have a key."""
    folder = tmp_path_factory.mktemp("keyed")
    with serving(served_home, folder, "--keys", str(write_keys(folder)), "--max-image-megabytes", "1") as running:
        yield running


@pytest.fixture(scope="session")
def open_endpoint(served_home, tmp_path_factory):
    """Answers everybody on this machine."""
    with serving(served_home, tmp_path_factory.mktemp("open"), "--no-auth") as running:
        yield running
