"""A home with real small models in a real registry, and `keeneye serve` on it as a process: made once, used by many.

`dents` is a detector that sees the same box in every picture; `colours` is a classifier that names a picture's colour.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.bundle.format import ModelCard, Network, file_sha256, write_model_card
from tasks.bundle.preprocessing import standard_steps
from tasks.stores.home import Home
from tasks.tracking.registry import STATUS_TAG, Registry
from tasks.tracking.runs import run_of_key
from tests.homes import new_home
from tests.makers import paint_shape, png_bytes
from tests.tasks.bundle.made_detector import put_box, silent_outputs, write_detector

COLOURS = ("blue", "green", "red")
SIDE = 32
PICTURE = png_bytes(paint_shape("round", 96))
DENT = {"left": 0.25, "top": 0.125, "width": 0.5, "height": 0.25}
"""The box that `dents` sees in a square picture, as ratios."""
KEY_ID, SECRET = "AKTESTALL", "a-secret-for-all-models"
OTHER_ID, OTHER_SECRET = "AKTESTCOLOURS", "a-secret-for-colours-only"
KEYS = f"""
- {{access_key_id: {KEY_ID}, secret_access_key: {SECRET}, projects: ["*"]}}
- {{access_key_id: {OTHER_ID}, secret_access_key: {OTHER_SECRET}, projects: [colours]}}
"""
START_SECONDS = 60


def make_home(root):
    """Register `dents` 1 and 2 (production is 1) and `colours` 1 (staging)."""
    home = new_home(root)
    registry = Registry(home)
    for version, score in (("1", 0.9), ("2", 0.7)):
        outputs = silent_outputs()
        put_box(outputs, 6, 1, (1, 0.5, 1, 0.5), score)
        put_box(outputs, 15, 2, (0.5, 0.5, 0.5, 0.5), 0.3)
        bundle = write_detector(made(root / f"dents-{version}"), outputs, provenance={"seed": int(version)})
        register(home, registry, "dents", version, bundle, {"test.map_50": 0.75, "test.macro_f1": 0.8125})
    registry.set_alias(registry.version("dents", "1"), "production")
    bundle = write_classifier(made(root / "colours-1"))
    register(home, registry, "colours", "1", bundle, {"test.accuracy": 0.9375, "test.macro_f1": 0.875, "loss": 1.0})
    registry.set_alias(registry.version("colours", "1"), "staging")
    return home


def made(folder):
    folder.mkdir(parents=True)
    return folder


def register(home, registry, name, key, bundle, metrics):
    with run_of_key(home, "keeneye/test-endpoint", f"{name}-{key}", name) as run:
        run.log_figures({}, metrics, {})
        return registry.register(run, name, f"{name}-{key}", bundle, PICTURE, {STATUS_TAG: "staged"})


def write_classifier(folder):
    """Write a bundle whose confidences follow a picture's mean colour."""
    weights = np.eye(3, dtype=np.float32)[:, ::-1] * 4  # labels are in the order of the alphabet: blue first
    networks = {
        "backbone": graph(
            folder / "backbone.onnx",
            "images",
            [
                helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
                helper.make_node("Flatten", ["mean"], ["out"]),
            ],
            ["n", 3, SIDE, SIDE],
            [],
        ),
        "head": graph(
            folder / "head.onnx",
            "features",
            [
                helper.make_node("MatMul", ["features", "weights"], ["scores"]),
                helper.make_node("Softmax", ["scores"], ["out"], axis=1),
            ],
            ["n", 3],
            [numpy_helper.from_array(np.ascontiguousarray(weights), "weights")],
        ),
    }
    card = ModelCard(
        task="classification",
        labels=COLOURS,
        thresholds=dict.fromkeys(COLOURS, 0.5),
        steps=standard_steps(SIDE),
        networks=networks,
        dataset_digest="d" * 64,
        provenance={"seed": 0},
    )
    write_model_card(folder, card)
    return folder


def graph(path, name, nodes, shape, values):
    made_graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])],
        values,
    )
    model = helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)
    return Network(file=path.name, sha256=file_sha256(path))


def picture(colour, side=96):
    """Paint one colour, as PNG bytes."""
    return png_bytes(
        np.full((side, side, 3), [255 if one == colour else 0 for one in ("red", "green", "blue")], np.uint8)
    )


@dataclass(frozen=True)
class Endpoint:
    """`keeneye serve` as a process."""

    process: subprocess.Popen
    address: str
    home: Home
    log_path: Path

    def client(self, auth=(KEY_ID, SECRET), **settings):
        return httpx.Client(base_url=self.address, auth=auth, timeout=30, trust_env=False, **settings)

    def log(self):
        return self.log_path.read_text(encoding="utf-8")

    def stop(self, number=signal.SIGTERM, seconds=40):
        self.process.send_signal(number)
        return self.process.wait(seconds)


def write_keys(folder):
    path = folder / "keys.yaml"
    path.write_text(KEYS)
    path.chmod(0o600)
    return path


def environment_of(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "KEENEYE_", "AWS_"))}
    return {**kept, "KEENEYE_HOME": str(home.root)}


@contextmanager
def serving(home, folder, *options, name="serve", environment=None):
    """Run `keeneye serve` on a free port until the end of the block."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("w") as stdout, err.open("w") as stderr:
        command = [sys.executable, "-m", "flows", "serve", "--port", "0", *options]
        process = subprocess.Popen(
            command, env=environment_of(home) | (environment or {}), stdout=stdout, stderr=stderr
        )
    try:
        yield Endpoint(process, address_of(process, err), home, err)
    finally:
        process.kill()
        process.wait()


def address_of(process, err):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = re.search(r"listening on (http://\S+?)(,|\s|$)", err.read_text())
        if found:
            return found[1]
        assert process.poll() is None, err.read_text()
        time.sleep(0.05)
    raise TimeoutError(err.read_text())
