"""A cluster as a user names it on the command line."""

import json
import shutil

import pytest

pytest.importorskip("distributed", reason="keeneye[dask] is not installed")

from tests.dask_cluster import running_cluster
from tests.makers import paint_class_folders

pytestmark = pytest.mark.slow


@pytest.fixture
def line(keeneye):
    paint_class_folders(keeneye.folder / "shapes")
    return keeneye


def truth_of(line, output, *arguments):
    return line.run("ground-truth", "--data.source", "shapes", "--output", output, *arguments, name=output)


def test_ground_truth_is_the_same_on_a_cluster(line, tmp_path_factory):
    code, _, err = truth_of(line, "here")
    assert code == 0, err
    shutil.rmtree(line.home.store.root / "entries")
    with running_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        code, out, err = truth_of(line, "there", "--shards.runner", "dask", "--shards.address", cluster.address)
    assert code == 0, err
    assert "Traceback" not in err
    assert json.loads(out)["status"] == "written"
    for path in (line.folder / "here").rglob("*.manifest"):
        other = line.folder / "there" / path.relative_to(line.folder / "here")
        assert other.read_bytes() == path.read_bytes()


def test_wrong_address_is_exit_3_with_one_sentence(line):
    code, out, err = truth_of(line, "out", "--shards.runner", "dask", "--shards.address", "tcp://127.0.0.1:1")
    assert code == 3, err
    record = json.loads(out)
    assert (record["status"], record["error"]) == ("failed", "EnvironmentFailed")
    assert record["message"].startswith("no Dask scheduler answers at tcp://127.0.0.1:1 ")
    assert err.count("\nkeeneye: no Dask scheduler answers") == 1
    assert "Traceback" not in err
    assert not list((line.folder / "out").iterdir())
