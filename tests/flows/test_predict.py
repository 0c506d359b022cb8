"""Batch prediction as a user calls it: the model found once, a killed run resumed, refusals in a sentence."""

import json
import os
import shutil
import signal

import httpx
import pandas as pd
import pytest

from flows.predict import predict
from tasks.errors import RegistryError, RequestError
from tasks.predict.shards import SHARD_STAGE
from tasks.stores.content import MARKER_NAME as ENTRY_MARKER
from tasks.tracking.registry import STAGING, Registry
from tasks.tracking.runs import run_of_key
from tests.conftest import Command
from tests.homes import new_home
from tests.makers import png_bytes
from tests.tasks.predict.predicting import RGB, lines_of, paint, pixels, write_colour_classifier

IMAGES, SHARD_SIZE = 24, 4
MODEL = f"models:/colours@{STAGING}"
KILLED = """
import os, signal
import tasks.stores.content as content

write_marker, calls = content._write_marker, []

def counted(folder):
    if folder.name.startswith("predict-shard"):
        calls.append(folder)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    write_marker(folder)

content._write_marker = counted
from flows.__main__ import main
main()
"""
"""Dies while the fourth shard is written: its files are there, its marker is not."""


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A home with three versions of a model: the first staged, the second rejected, the third sharper."""
    folder = tmp_path_factory.mktemp("registered")
    home = new_home(folder / "home")
    registry = Registry(home)
    for number, sharpness in enumerate((4.0, 5.0, 8.0), start=1):
        bundle = write_colour_classifier(folder / f"bundle{number}", sharpness)
        key = str(number)
        with run_of_key(home, "keeneye/test-predict", key, "colours") as run:
            info = registry.register(run, "colours", key, bundle, png_bytes(pixels("red", 0, 32, 32)), {})
        registry.set_status(info, "rejected" if number == 2 else "registered", ("macro-F1 0.2 is below 0.8",))
    registry.set_alias(registry.version("colours", "1"), STAGING)
    return home


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "photos"
    colours = list(RGB)
    for number in range(IMAGES):
        paint(folder / f"line {number % 3}" / f"{number:02}.png", colours[number % 4], number)
    (folder / "line 0" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def home(registered, monkeypatch, prefect):
    monkeypatch.setenv("KEENEYE_HOME", str(registered.root))
    # MLflow writes them; a test must not leave them to the next.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered.tracking_uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registered.registry_uri)
    return registered


@pytest.fixture
def command(registered, tmp_path, prefect_url):
    """The command, with a copy of the registry; the artifacts stay where they were logged."""
    root = tmp_path / "home"
    shutil.copytree(registered.root, root, ignore=shutil.ignore_patterns("store", "bundles", "mlartifacts"))
    environment = {**os.environ, "KEENEYE_HOME": str(root), "PREFECT_API_URL": prefect_url}
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        environment.pop(name, None)
    return Command(tmp_path, environment)


def arguments(photos, output):
    return ("predict", "--model", MODEL, "--source", str(photos), "--output", output, "--shard_size", str(SHARD_SIZE))


def shards_of(home):
    return {path.name: (path / ENTRY_MARKER).stat().st_mtime_ns for path in home.store.entries_of(SHARD_STAGE)}


def test_killed_run_goes_on_where_it_was(command: Command, home, photos, tmp_path):
    code, out, err = command.run(*arguments(photos, "out"), program=("-c", KILLED), name="killed")
    assert (code, out) == (-signal.SIGKILL, ""), err
    kept = shards_of(command.home)
    assert len(kept) == 3
    output = command.folder / "out"
    assert not list(output.iterdir())

    code, out, err = command.run(*arguments(photos, "out"))
    assert code == 0, err
    assert out.count("\n") == 1
    assert "Traceback" not in err
    record = json.loads(out)
    assert (record["shards"], record["shards_reused"]) == (7, 3)
    assert {name: time for name, time in shards_of(command.home).items() if name in kept} == kept
    assert not list((command.home.root / "store" / "unfinished").iterdir())
    assert (record["status"], record["images"], record["predicted"]) == ("written", IMAGES + 1, IMAGES)
    assert record["findings"] == {"ERROR_INVALID_IMAGE": 1}
    assert (record["model_version"], record["output"]) == ("1", str(output))
    table = pd.read_parquet(output / "predictions.parquet")
    assert sorted(table.image) == sorted(f"line {number % 3}/{number:02}.png" for number in range(IMAGES))

    predict(model=MODEL, source=str(photos), output=str(tmp_path / "whole"))
    for name in record["files"]:
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_python_call_writes_into_the_home(home, photos, prefect):
    result = predict(model=MODEL, source=str(photos), images={"max_megapixels": 50})
    assert result.output == str(home.root / "predictions" / "colours" / "1" / "photos")
    assert result.predictions == {"blue": 6, "green": 6, "red": 6}
    assert (result.with_predictions, result.model_uri) == (18, "models:/colours/1")
    assert set(result.seconds) == set(result.reused) == {"model", "list", "predict", "write"}
    state = httpx.get(f"{prefect}/flow_runs/{result.prefect_flow_run_id}").json()["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "Written")
    assert state["message"] == "24 of 25 images with models:/colours/1"
    again = predict(model="models:/colours/1", source=str(photos), images={"max_megapixels": 50})
    changing = {"prefect_flow_run_id", "seconds", "reused", "shards_reused"}
    assert again.model_dump(exclude=changing) == result.model_dump(exclude=changing)
    assert (again.shards_reused, again.reused["predict"]) == (1, True)


def test_alias_that_moves_does_not_mix_versions(home, photos, tmp_path, monkeypatch):
    registry, cached = Registry(home), Registry.cached_bundle

    def move_and_fetch(self, info):
        registry.set_alias(registry.version("colours", "3"), STAGING)
        return cached(self, info)

    monkeypatch.setattr(Registry, "cached_bundle", move_and_fetch)
    try:
        result = predict(model=MODEL, source=str(photos), output=str(tmp_path / "out"), shard_size=3)
        monkeypatch.undo()
        assert registry.resolve(MODEL).version == "3"
    finally:
        registry.set_alias(registry.version("colours", "1"), STAGING)
    lines = lines_of(tmp_path / "out" / "predictions.jsonl")
    assert {(line["version"], line["bundle_digest"]) for line in lines} == {("1", result.bundle_digest)}


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        pytest.param("models:/nothing@staging", RequestError, "has no model models:/nothing@staging", id="unknown"),
        pytest.param("models:/colours@champion", RequestError, "has no model models:/colours@champion", id="alias"),
        pytest.param("models:/colours/9", RequestError, "has no model models:/colours/9", id="version"),
        pytest.param("models:/colours/2", RegistryError, r"was rejected \(macro-F1 0.2 is below 0.8\)", id="rejected"),
    ],
)
def test_model_that_cannot_be_used_is_refused(home, photos, tmp_path, model, error, words):
    with pytest.raises(error, match=words):
        predict(model=model, source=str(photos), output=str(tmp_path / "out"))


def test_folder_with_files_of_others_is_refused_at_once(home, photos, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"holds files of others \(mine\.txt\)"):
        predict(model=MODEL, source=str(photos), output=str(tmp_path))


def test_prefix_without_manifest_is_refused(home, photos):
    with pytest.raises(RequestError, match="add --manifest"):
        predict(model=MODEL, source=str(photos), reference_prefix="s3://bucket/")
