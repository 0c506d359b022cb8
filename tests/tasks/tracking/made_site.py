"""A site as the ledger knows it: a model in a real registry, its environments and its moves."""

from itertools import count

from mlflow import MlflowClient

from tasks.tracking.environments import Environments, Move
from tasks.tracking.ledger import Ledger
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry

NUMBERS = count()
VERSIONS = ("1", "2", "3")


class Site:
    """A model of three versions in a real registry, and a ledger."""

    def __init__(self, home, url):
        self.home, self.url = home, url
        self.registry, self.ledger = Registry(home), Ledger(url)
        self.environments = Environments(self.registry, self.ledger)
        self.client = MlflowClient(home.tracking_uri, home.registry_uri)
        self.model = f"bolts-{next(NUMBERS)}"
        self.make_model()

    def make_model(self, digest="{}"):
        self.client.create_registered_model(self.model)
        for version in VERSIONS:
            tags = {BUNDLE_DIGEST_TAG: digest.format(version) * 64}
            self.client.create_model_version(self.model, "/nowhere", tags=tags)

    def move(self, version, environment="staging", **fields):
        told = {"action": "promote", "who": "ana", "why": "it is better"}
        return Move(**{"model": self.model, "environment": environment, "to_version": version, **told, **fields})

    def begin(self, version, environment="staging", **options):
        return self.environments.begin(self.move(version, environment), **options)

    def stand(self, version, environment="staging"):
        begun = self.begin(version, environment)
        self.environments.expose(begun)
        return self.environments.confirm(begun, {"tested": True})

    def set_alias(self, version, environment="staging"):
        self.client.set_registered_model_alias(self.model, environment, version)

    def aliases(self):
        return {name: str(at) for name, at in self.client.get_registered_model(self.model).aliases.items()}

    def entries(self):
        return self.ledger.entries(self.model)

    def kinds(self):
        return [(one.kind.value, one.action, one.to_version) for one in self.entries()]

    def repair(self):
        return self.environments.repair(self.model)

    def from_elsewhere(self):
        """The same, as another process of another host sees it."""
        return Environments(Registry(self.home), self.ledger)
