"""A service over a real registry with real small bundles, and what tests ask of it."""

import asyncio
import time
from dataclasses import dataclass

from mlflow import MlflowClient

from tasks.bundle.format import bundle_digest
from tasks.serving.states import Status
from tasks.stores.home import Home
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry, VersionInfo
from tests.tasks.serving.made_classifier import coloured, write_classifier

OLD, NEW = ("red", "green", "blue"), ("rouge", "vert", "bleu")
RED = coloured(250, 10, 10)
ALL = {None, *Status}


@dataclass(frozen=True)
class Registered:
    """A model of two versions with labels of their own, and a detector."""

    home: Home
    old: VersionInfo
    new: VersionInfo
    boxes: VersionInfo


def add_bundle(like, home, folder, labels, threshold=0.5):
    """Add a version with a bundle of its own; the files are all it needs, so nothing is logged."""
    bundle = write_classifier(folder / "artifacts" / "bundle", labels, threshold)
    (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    tags = {BUNDLE_DIGEST_TAG: bundle_digest(bundle)}
    client = MlflowClient(home.tracking_uri, home.registry_uri)
    created = client.create_model_version(like.name, folder.as_uri(), like.run_id, tags=tags)
    return Registry(home).version(like.name, str(created.version))


async def ask(service, image=RED, model="colours", qualifier="production"):
    with service.admit():
        return await service.predict(model, qualifier, image)


async def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
