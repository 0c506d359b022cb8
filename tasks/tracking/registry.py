"""The model registry: versions of registered models, their tags and aliases, and the bundle behind a version."""

import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types.schema import Array, ColSpec, DataType, Map, Object, Property, Schema

import tasks
from tasks.bundle.format import Task, bundle_digest, read_model_card
from tasks.errors import RegistryError
from tasks.stores.home import Home
from tasks.tracking.client import answered, connect
from tasks.tracking.runs import RUN_KEY_TAG, Run

STAGING = "staging"
STATUS_TAG = "keeneye.status"
REASONS_TAG = "keeneye.reasons"
BUNDLE_DIGEST_TAG = "keeneye.bundle_digest"
DATASET_DIGEST_TAG = "keeneye.dataset_digest"
MODEL_ARTIFACT = "model"
BUNDLE_ARTIFACT = "bundle"
MAX_TAG_CHARACTERS = 5000

_SERVING_CODE = ("__init__.py", "errors.py", "bundle", "vision")
"""What the predictor needs of the package `tasks`, and all that travels with a model for third parties."""
_SERVING_LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "pandas", "pillow", "pydantic")
_ANSWER = (
    ColSpec(DataType.string, "label"),
    ColSpec(DataType.double, "confidence"),
    ColSpec(Array(DataType.string), "labels"),
    ColSpec(Map(DataType.double), "confidences"),
)
_BOX = Object(
    [
        Property("label", DataType.string),
        *(Property(figure, DataType.double) for figure in ("confidence", "left", "top", "width", "height")),
    ]
)


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A registered version as the registry tells it."""

    name: str
    version: str
    run_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...]

    @property
    def uri(self) -> str:
        """Its `models:/` address."""
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The registered models of one MLflow."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._client: MlflowClient = connect(home)

    def version(self, name: str, version: str) -> VersionInfo:
        """Return one version.

        Raises:
            RegistryError: when there is none.
        """
        with answered(self._home):
            return self._info(self._client.get_model_version(name, version))

    def resolve(self, model_uri: str) -> VersionInfo:
        """Return the version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` means now.

        Raises:
            RegistryError: when there is none.
        """
        address = model_uri.removeprefix("models:/")
        name, separator, alias = address.partition("@")
        with answered(self._home):
            if separator:
                return self._info(self._client.get_model_version_by_alias(name, alias))
            name, _, number = address.rpartition("/")
            return self._info(self._client.get_model_version(name, number))

    def version_of_key(self, name: str, run_key: str) -> VersionInfo | None:
        """Return the version that a run key has registered, or None."""
        with answered(self._home):
            found = self._client.search_model_versions(
                f"name = '{name}' and tags.`{RUN_KEY_TAG}` = '{run_key}'", max_results=1
            )
            return self._info(self._client.get_model_version(name, found[0].version)) if found else None

    def register(
        self, run: Run, name: str, run_key: str, bundle: Path, example: bytes, tags: Mapping[str, str]
    ) -> VersionInfo:
        """Log a bundle as a pyfunc model and register it; a run key registers one version, however often asked.

        Args:
            run: the MLflow run it belongs to.
            name: registered model.
            run_key: identifies the request.
            bundle: the bundle's folder.
            example: an image file, for the model's input example.
            tags: of the version, set together with its creation.
        """
        with self._home.lock(f"register-{name}"):
            known = self.version_of_key(name, run_key)
            if known:
                return known
            logged = self._log_model(run, bundle, example)
            own_tags = {RUN_KEY_TAG: run_key, BUNDLE_DIGEST_TAG: bundle_digest(bundle)}
            with answered(self._home):
                if not self._client.search_registered_models(f"name = '{name}'", max_results=1):
                    self._client.create_registered_model(name)
                # The tags come with the creation: a kill right after it leaves a version that is found again.
                created = self._client.create_model_version(
                    name, logged.model_uri, run.run_id, tags={**own_tags, **tags}, model_id=logged.model_id
                )
            return self.version(name, str(created.version))

    def set_status(self, info: VersionInfo, status: str, reasons: tuple[str, ...]) -> VersionInfo:
        """Tag a version with its status and the reasons for it."""
        with answered(self._home):
            for tag, value in ((STATUS_TAG, status), (REASONS_TAG, "; ".join(reasons)[:MAX_TAG_CHARACTERS])):
                self._client.set_model_version_tag(info.name, info.version, tag, value)
        return self.version(info.name, info.version)

    def remove_alias(self, info: VersionInfo, alias: str) -> VersionInfo:
        """Take an alias away from a version, if it is the one that has it."""
        if alias in self.version(info.name, info.version).aliases:
            with answered(self._home):
                self._client.delete_registered_model_alias(info.name, alias)
        return self.version(info.name, info.version)

    def set_alias(self, info: VersionInfo, alias: str) -> VersionInfo:
        """Move an alias to a version."""
        with answered(self._home):
            self._client.set_registered_model_alias(info.name, alias, info.version)
        return self.version(info.name, info.version)

    def fetch_bundle(self, model_uri: str, target: Path) -> Path:
        """Download the bundle of a `models:/` address into a folder; returns the bundle's folder.

        Raises:
            RegistryError: when there is no such model, or it holds no bundle.
        """
        with answered(self._home):
            try:
                fetched = Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=str(target)))
            except FileNotFoundError as error:
                raise RegistryError(
                    f"the files of {model_uri} cannot be fetched: {error}; delete that version and train again"
                ) from error
        bundle = fetched / "artifacts" / BUNDLE_ARTIFACT
        if not bundle.is_dir():
            raise RegistryError(f"{model_uri} holds no Keeneye bundle; name a model that Keeneye registered")
        return bundle

    def _log_model(self, run: Run, bundle: Path, example: bytes) -> ModelInfo:
        # MLflow copies what it is given under the folder's own name, so the bundle gets the name it will have.
        with tempfile.TemporaryDirectory(prefix="keeneye-model-") as scratch:
            staged = Path(scratch) / BUNDLE_ARTIFACT
            shutil.copytree(bundle, staged)
            with answered(self._home):
                known = self._client.create_logged_model(
                    run.experiment_id, MODEL_ARTIFACT, source_run_id=run.run_id, model_type=""
                )
                self._client.log_outputs(run.run_id, [LoggedModelOutput(known.model_id, step=0)])
                # The ambient run is the thread's own; in a fresh thread there is none.
                with ThreadPoolExecutor(1) as pool:
                    return pool.submit(
                        mlflow.pyfunc.log_model,
                        model_id=known.model_id,
                        name=MODEL_ARTIFACT,
                        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
                        artifacts={BUNDLE_ARTIFACT: str(staged)},
                        code_paths=[str(_serving_code(Path(scratch)))],
                        signature=_signature(read_model_card(bundle).task),
                        input_example=pd.DataFrame({"image": [example]}),
                        pip_requirements=[f"{name}=={installed_version(name)}" for name in _SERVING_LIBRARIES],
                    ).result()

    def _info(self, found: ModelVersion) -> VersionInfo:
        aliases = self._client.get_registered_model(found.name).aliases
        mine = tuple(sorted(alias for alias, number in aliases.items() if str(number) == str(found.version)))
        return VersionInfo(found.name, str(found.version), found.run_id, dict(found.tags), mine)


def _signature(task: Task) -> ModelSignature:
    boxes = (ColSpec(Array(_BOX), "boxes"),) if task == "detection" else ()
    return ModelSignature(inputs=Schema([ColSpec(DataType.binary, "image")]), outputs=Schema([*_ANSWER, *boxes]))


def _serving_code(scratch: Path) -> Path:
    package = Path(tasks.__file__).parent
    target = scratch / "tasks"
    target.mkdir()
    for name in _SERVING_CODE:
        source = package / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target / name)
    return target
