"""An earlier version of one's own, to go on learning from: found in the registry, fetched when it is needed."""

from dataclasses import dataclass
from pathlib import Path

from tasks.bundle.format import Task, read_model_card
from tasks.errors import RegistryError, RequestError
from tasks.stores.home import Home
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry

MODELS_SCHEME = "models:/"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A network to go on from.

    Attributes:
        model_uri: its address, with the number of its version.
        labels: its labels, in the order of its columns.
        weights: file with its tensors.
    """

    model_uri: str
    labels: tuple[str, ...]
    weights: Path


@dataclass(frozen=True, slots=True)
class EarlierVersion:
    """A registered version: its address, with the number of the version, and its bundle's digest."""

    model_uri: str
    digest: str

    def fetch(self, home: Home, folder: Path, task: Task) -> Earlier:
        """Download its bundle into a folder and verify it.

        Raises:
            RequestError: when it is no network of the task whose learning can go on.
            BundleError: when the bundle is not the one that was registered.
        """
        folder.mkdir(parents=True, exist_ok=True)
        bundle = Registry(home).fetch_bundle(self.model_uri, folder)
        card = read_model_card(bundle, expected_digest=self.digest)
        if card.task != task or card.weights is None:
            wanted = "detector" if task == "detection" else "network of cnn, transfer or finetune"
            raise RequestError(
                f"{self.model_uri} is no {wanted} whose learning can go on (its task is {card.task}, its algorithm "
                f"{card.provenance.get('algorithm', 'unknown')}); name one in training.weights, or leave it out"
            )
        return Earlier(self.model_uri, card.labels, bundle / card.weights.file)


def find_earlier(home: Home, weights: str) -> EarlierVersion:
    """Return the version that `training.weights` names now, as `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        RequestError: when the registry has no such version.
    """
    try:
        info = Registry(home).resolve(weights)
    except RegistryError as error:
        raise RequestError(
            f"training.weights names {weights}, which the registry does not have ({error.message}); name a registered "
            "model as models:/NAME@ALIAS or models:/NAME/VERSION"
        ) from error
    if BUNDLE_DIGEST_TAG not in info.tags:
        raise RequestError(f"{weights} was not registered by Keeneye; name one that was in training.weights")
    return EarlierVersion(info.uri, info.tags[BUNDLE_DIGEST_TAG])
