"""What tests of environments share: a site for each test."""

import pytest

from tests.homes import new_home
from tests.tasks.tracking.made_site import Site


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """One MLflow for all sites; each has a model of its own in it."""
    return new_home(tmp_path_factory.mktemp("environments") / "home")


@pytest.fixture
def site(home, tmp_path):
    """With a ledger in SQLite."""
    made = Site(home, f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    made.ledger.close()


@pytest.fixture
def each_site(home, database_url):
    """With a ledger in each kind of database."""
    made = Site(home, database_url)
    yield made
    made.ledger.close()
