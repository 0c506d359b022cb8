"""A bundle as an MLflow model: what third parties load, with the code and the libraries that it needs."""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as installed_version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types.schema import Array, ColSpec, DataType, Map, Object, Property, Schema

import tasks
from tasks.bundle.format import TASKS_WITH_BOXES, Task, read_model_card

MODEL_ARTIFACT = "model"
BUNDLE_ARTIFACT = "bundle"

_SERVING_CODE = ("__init__.py", "errors.py", "bundle", "features", "vision")
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


def log_model(client: MlflowClient, run_id: str, experiment_id: str, bundle: Path, example: bytes) -> ModelInfo:
    """Log a bundle as a pyfunc model of a run.

    Args:
        client: of the tracking store.
        run_id: the run it belongs to.
        experiment_id: of that run.
        bundle: the bundle's folder.
        example: an image file, for the model's input example.
    """
    # MLflow copies what it is given under the folder's own name, so the bundle gets the name it will have.
    with tempfile.TemporaryDirectory(prefix="keeneye-model-") as scratch:
        staged = Path(scratch) / BUNDLE_ARTIFACT
        shutil.copytree(bundle, staged)
        known = client.create_logged_model(experiment_id, MODEL_ARTIFACT, source_run_id=run_id, model_type="")
        client.log_outputs(run_id, [LoggedModelOutput(known.model_id, step=0)])
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


def _signature(task: Task) -> ModelSignature:
    boxes = (ColSpec(Array(_BOX), "boxes"),) if task in TASKS_WITH_BOXES else ()
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
