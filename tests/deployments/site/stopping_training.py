"""`keeneye train` as a worker runs it, except that it stops where a test asks it to. No test itself.

It stops at a moment while `moments/MOMENT` is in Keeneye's home, and says that it is there by `moments/MOMENT.reached`.
"""

import functools
import os
import time
from pathlib import Path

from mlflow import MlflowClient

import flows.train as line
from tasks.stores.content import ContentStore
from tasks.tracking.registry import Registry

MOMENTS = Path(os.environ["KEENEYE_HOME"]) / "moments"


def stop_at(moment):
    wanted = MOMENTS / moment
    if moment and wanted.exists():
        wanted.with_suffix(".reached").touch()
        while wanted.exists():
            time.sleep(0.02)


def stopping(function, *, before="", after=""):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        stop_at(before)
        result = function(*args, **kwargs)
        stop_at(after)
        return result

    return wrapped


def publish(store, folder, target, publish=ContentStore._publish):
    stop_at(f"publishing-{target.parent.name}")  # everything of the stage is there, and not yet in its place
    publish(store, folder, target)


MOMENTS.mkdir(exist_ok=True)
ContentStore._publish = publish
MlflowClient.create_run = stopping(MlflowClient.create_run, after="run-made")
MlflowClient.create_model_version = stopping(MlflowClient.create_model_version, after="version-made")
Registry.set_alias = stopping(Registry.set_alias, before="setting-alias")
line.ingest_images = stopping(line.ingest_images, before="before-ingest")
line.register_version = stopping(line.register_version, before="before-register")
line.stage_version = stopping(line.stage_version, before="before-staging")

train = line.train
