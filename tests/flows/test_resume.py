"""Kill a run with SIGKILL and start it again: finished stages are reused, one version is registered."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest

from tasks.stores.content import MARKER_NAME
from tests.conftest import QUICK_OPTIONS, Command, reap
from tests.makers import paint_class_folders

KILLED_RUN = str(Path(__file__).with_name("killed_run.py"))
ARGUMENTS = (
    "train",
    "--data.source",
    "shapes",
    *QUICK_OPTIONS,
    "--gate.min_macro_f1",
    "0.5",
    "--gate.min_label_recall",
    "0.3",
)
LABELS = ("cross", "round", "square")
IMAGES_PER_LABEL = 50
"""With 70/15/15 more than one shard of images is embedded."""
RANDOM_MOMENTS = 20
NAME = "shapes-classification"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp("resume") / "shapes"
    paint_class_folders(root, labels=LABELS, images_per_label=IMAGES_PER_LABEL)
    return root


@pytest.fixture
def line(keeneye, shapes):
    shutil.copytree(shapes, keeneye.folder / "shapes")
    return keeneye


def kill_at(line, moment):
    code, out, err = line.run(moment, *ARGUMENTS, program=(KILLED_RUN,), name="killed")
    assert code == -signal.SIGKILL, err
    assert out == ""


def finish(line):
    code, out, err = line.run(*ARGUMENTS)
    assert code == 0, err
    return json.loads(out)


def assert_one_staged_version(line, record):
    client = mlflow.MlflowClient(line.home.tracking_uri, line.home.registry_uri)
    versions = client.search_model_versions(f"name = '{NAME}'")
    assert [str(version.version) for version in versions] == ["1"]
    assert (record["status"], record["model_version"], record["aliases"]) == ("staged", "1", ["staging"])
    assert str(client.get_model_version_by_alias(NAME, "staging").version) == "1"
    assert client.get_run(record["mlflow_run_id"]).info.status == "FINISHED"
    experiment = client.get_experiment_by_name("keeneye/shapes").experiment_id
    assert len(client.search_runs([experiment])) == 1


def embedded_images(line):
    folders = (line.home.root / "store" / "entries").glob("embedding-*/*")
    return {folder.name: len(np.load(folder / "features.npy")) for folder in folders}


def test_killed_while_embedding(line):
    kill_at(line, "in_the_middle_of_a_shard")
    kept = embedded_images(line)
    assert list(kept.values()) == [64]
    unfinished = list((line.home.root / "store" / "unfinished").iterdir())
    assert any(folder.name.startswith("embedding") for folder in unfinished)
    first = next((line.home.root / "store" / "entries").glob(f"embedding-*/{next(iter(kept))}/{MARKER_NAME}"))
    before = first.stat().st_mtime_ns

    record = finish(line)

    assert {stage: record["reused"][stage] for stage in ("ingest", "manifest", "train")} == {
        "ingest": True,
        "manifest": True,
        "train": False,
    }
    assert first.stat().st_mtime_ns == before
    images = sum(sum(record["counts"]["images"][split].values()) for split in ("train", "validation"))
    assert sum(embedded_images(line).values()) == images
    assert not list((line.home.root / "store" / "unfinished").iterdir())
    assert_one_staged_version(line, record)


MOMENTS = {
    "before_publishing_the_model": {"ingest": True, "train": False},
    "after_logging_the_model": {"train": True, "evaluate": True, "register": False},
    "after_creating_the_version": {"evaluate": True, "register": True},
    "before_the_alias": {"evaluate": True, "register": True},
}
"""Where a run is killed, in its order, and what the next one finds finished."""


@pytest.mark.slow  # killed once, while it embeds: the test above
def test_killed_at_each_step_in_turn_then_finished(line):
    for moment in MOMENTS:
        kill_at(line, moment)
    record = finish(line)
    assert {stage: record["reused"][stage] for stage in MOMENTS["before_the_alias"]} == MOMENTS["before_the_alias"]
    assert_one_staged_version(line, record)


@pytest.mark.slow  # each moment in a home of its own; all in one: the test above
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_once_then_finished(line, moment):
    kill_at(line, moment)
    record = finish(line)
    assert {stage: record["reused"][stage] for stage in MOMENTS[moment]} == MOMENTS[moment]
    assert_one_staged_version(line, record)


@pytest.mark.slow
def test_two_runs_at_once_register_one_version(line):
    processes = [line.start(*ARGUMENTS, name=f"run{number}") for number in range(2)]
    try:
        codes = [process.wait(300) for process in processes]
        assert codes == [0, 0], [(line.folder / f"run{number}.err").read_text() for number in range(2)]
    finally:
        for process in processes:
            reap(process)
    records = [json.loads((line.folder / f"run{number}.out").read_text()) for number in range(2)]
    assert {record["model_version"] for record in records} == {"1"}
    assert_one_staged_version(line, records[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_moments(line, shapes, tmp_path, exported_home):
    start = time.monotonic()
    expected = finish(line)
    longest = time.monotonic() - start
    moments = random.Random(2026)
    for number in range(RANDOM_MOMENTS):
        folder = tmp_path / f"moment{number}"
        shutil.copytree(shapes, folder / "shapes")
        shutil.copytree(exported_home.root, folder / "home")
        again = Command(folder, {**line.environment, "KEENEYE_HOME": str(folder / "home")})
        process = again.start(*ARGUMENTS, name="killed")
        time.sleep(moments.uniform(0.2, 1.0) * longest)
        process.kill()
        reap(process)

        record = finish(again)

        assert_one_staged_version(again, record)
        for same in ("dataset_digest", "metrics", "counts", "gate"):
            assert record[same] == expected[same], (number, same)
