"""A comparison as Python calls it, after one that was killed: leaderboard, page, MLflow, Prefect, and what it ships."""

import json
import signal
from pathlib import Path

import httpx
import mlflow
import pytest
import yaml

from flows.__main__ import main, parse
from flows.compare import compare
from flows.compare_config import CompareConfig
from flows.config import DataConfig, MaskConfig
from flows.measuring import measure_candidates
from flows.provision_config import training_limit
from tasks.compare.records import LEADERBOARD_FILE
from tasks.compare.task import publish_comparison
from tasks.errors import DataError, RequestError
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.stores.content import MARKER_NAME
from tasks.stores.home import Home
from tasks.train.fold_task import measure_fold, pixels_path
from tasks.train.task import train_model
from tests.conftest import INPUT_SIZE, make_command, reporting_to
from tests.flows.test_resume import KILLED_RUN
from tests.makers import paint_class_folders

LABELS = ("cross", "round", "square")
FOLDS = 3
CANDIDATES = ("cnn", "svm:stages", "transfer", "plain")
TRAINING = {"input_size": INPUT_SIZE, "views": False, "weights": "none", "network": {"epochs": 1, "batch_size": 8}}
REQUEST = {"candidates": CANDIDATES, "folds": FOLDS, "training": TRAINING}
EASY = {"min_macro_f1": 0.3, "min_label_recall": 0.0, "max_latency_ms": 60_000.0}


@pytest.fixture(scope="module")
def killed(tmp_path_factory, prefect_url, exported_home):
    """The command whose comparison was killed in its third fold, and when the markers of two folds were written."""
    command = make_command(tmp_path_factory.mktemp("compare"), prefect_url, exported_home)
    paint_class_folders(command.folder / "shapes", labels=LABELS, images_per_label=14)
    request = command.folder / "request.yaml"
    request.write_text(yaml.safe_dump({**REQUEST, "candidates": list(CANDIDATES), "data": {"source": "shapes"}}))
    code, out, err = command.run("in_the_third_fold", "compare", "--config", str(request), program=(KILLED_RUN,))
    assert (code, out) == (-signal.SIGKILL, ""), err
    markers = (command.home.root / "store" / "entries" / "fold").glob(f"*/{MARKER_NAME}")
    return command, {marker: marker.stat().st_mtime_ns for marker in markers}


@pytest.fixture(scope="module")
def home(killed, prefect_url):
    command, _ = killed
    with pytest.MonkeyPatch.context() as patched, reporting_to(prefect_url):
        patched.setenv("KEENEYE_HOME", str(command.home.root))
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Home.from_environment()


@pytest.fixture(scope="module")
def result(home, killed):
    source = str(killed[0].folder / "shapes")
    return compare(data={"source": source}, gate=EASY, ship=True, **REQUEST)


@pytest.fixture(scope="module")
def manifest(home, killed, result):
    data = DataConfig(source=str(killed[0].folder / "shapes"))
    return build_manifest.fn(home, ingest_images.fn(home, data), data, MaskConfig(), "classification")


def test_a_killed_comparison_goes_on_and_repeats_no_fold(killed, result):
    _, markers = killed
    assert len(markers) == 2
    assert {marker: marker.stat().st_mtime_ns for marker in markers} == markers
    measured = [one for one in result.ranking.standings if one.outcome == "measured"]
    assert {one.candidate for one in measured} == {"plain", "svm:stages", "cnn"}
    assert all(len(one.macro_f1) == result.folds == FOLDS for one in measured)


def test_nothing_unfinished_is_left(result, home):
    assert list(home.work_path.iterdir()) == []


def test_features_were_computed_once(result, home):
    assert sum(one.features_computed for one in result.ranking.standings) == result.images
    shards = list((home.root / "store" / "entries").glob("embedding-*/*/digests.txt"))
    # The winner's training computes none either.
    assert sum(len(shard.read_text().split()) for shard in shards) == result.images


def test_who_fails_stands_in_the_table_with_the_reason(result):
    failed = result.ranking.of("transfer")
    assert failed.outcome == "failed"
    assert "transfer cannot be trained: transfer learns on what the backbone knows" in failed.reason
    assert result.ranking.standings[-1] == failed
    text = result.table()
    assert "failed: transfer cannot be trained" in text
    assert all(sentence in text for sentence in result.ranking.advice)


def test_the_page_tells_the_same(result):
    page = Path(result.report_path).read_text()
    best = result.ranking.of(result.ranking.most_accurate)
    assert f"Recommended: {result.ranking.recommended}" in page
    assert f"{best.macro_f1_mean:.3f}" in page
    assert all(one.candidate in page for one in result.ranking.standings)
    assert f"What {result.ranking.recommended} rests on" in page
    assert page.count('<article class="pair-card">') > 0
    kept = json.loads((Path(result.report_path).parent / LEADERBOARD_FILE).read_text())
    assert kept["ranking"] == json.loads(result.ranking.model_dump_json())


def test_the_winner_is_shipped_and_can_be_trained_again(result, home):
    assert result.status == result.shipped.status == "staged"
    assert "Shipped: models:/shapes-classification/1 is staged" in result.table()
    command, request = parse(["train", "--config", result.winner_path])
    winner = result.ranking.recommended
    assert command.entrypoint == "flows.train:train"
    assert request.training.algorithm == ("logistic" if winner == "plain" else winner.partition(":")[0])
    assert request.gate.min_macro_f1 == EASY["min_macro_f1"]
    version = mlflow.MlflowClient(home.tracking_uri, home.registry_uri).get_model_version("shapes-classification", "1")
    params = mlflow.MlflowClient(home.tracking_uri).get_run(version.run_id).data.params
    assert params["training.algorithm"] == request.training.algorithm


def test_mlflow_has_a_run_per_candidate_below_one_for_all(result, home):
    client = mlflow.MlflowClient(home.tracking_uri, home.registry_uri)
    parent = client.get_run(result.mlflow_run_id)
    assert parent.data.tags["keeneye.recommended"] == result.ranking.recommended
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{result.mlflow_run_id}'")
    assert {run.info.run_name for run in children} == set(CANDIDATES)
    for run in children:
        standing = result.ranking.of(run.info.run_name)
        assert run.data.tags["keeneye.outcome"] == standing.outcome
        if standing.outcome == "measured":
            steps = client.get_metric_history(run.info.run_id, "fold.macro_f1")
            assert [one.value for one in sorted(steps, key=lambda one: one.step)] == list(standing.macro_f1)
            assert run.data.params["algorithm"] in {"logistic", "svm", "cnn"}
            assert run.data.metrics["macro_f1_mean"] == pytest.approx(standing.macro_f1_mean)
    files = {file.path for file in client.list_artifacts(result.mlflow_run_id)}
    assert {"comparison", "leaderboard.html"} <= files


def test_other_measurements_are_another_run(result, home, manifest):
    """Of the same request: with a newer library, or an alias that was moved, a search settles on other options."""
    config = CompareConfig(**REQUEST)
    again = publish_comparison.fn(home, manifest, result.ranking, config)
    assert (again.mlflow_run_id, again.folder) == (result.mlflow_run_id, str(Path(result.winner_path).parent))
    cnn = result.ranking.of("cnn")
    other = cnn.model_copy(
        update={"options": {"learning_rate": 0.01}, "measured_at": tuple(at + 60.0 for at in cnn.measured_at)}
    )
    standings = tuple(other if one is cnn else one for one in result.ranking.standings)
    later = publish_comparison.fn(home, manifest, result.ranking.model_copy(update={"standings": standings}), config)
    assert later.mlflow_run_id != result.mlflow_run_id
    client = mlflow.MlflowClient(home.tracking_uri)
    params = {
        run_id: run.data.params["network"]
        for run_id in (result.mlflow_run_id, later.mlflow_run_id)
        for run in client.search_runs(
            [client.get_run(run_id).info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
        )
        if run.info.run_name == "cnn"
    }
    assert "0.01" in params[later.mlflow_run_id]
    assert "0.01" not in params[result.mlflow_run_id]


def test_prefect_shows_the_folds_and_the_table(result, prefect_url):
    flow_run = {"flow_runs": {"id": {"any_": [result.prefect_flow_run_id]}}}
    (run,) = httpx.post(f"{prefect_url}/flow_runs/filter", json=flow_run).json()
    assert (run["state"]["name"], "Recommended:" in run["state"]["message"]) == ("Staged", True)
    tasks = httpx.post(f"{prefect_url}/task_runs/filter", json={**flow_run, "limit": 100}).json()
    folds = {task["name"] for task in tasks if ", fold " in task["name"]}
    assert folds == {f"{name}, fold {fold + 1}" for name in ("plain", "svm:stages", "cnn") for fold in range(FOLDS)}
    wanted = {"artifacts": {"flow_run_id": {"any_": [result.prefect_flow_run_id]}}}
    artifacts = {one["key"]: one["data"] for one in httpx.post(f"{prefect_url}/artifacts/filter", json=wanted).json()}
    assert {row["candidate"] for row in json.loads(artifacts["leaderboard"])} == set(CANDIDATES)


def test_folds_and_trainings_on_one_machine_share_a_limit():
    assert measure_fold.tags == train_model.tags == {training_limit()}


def test_a_slip_in_a_candidate_costs_no_look_at_an_image(tmp_path, capsys):
    arguments = ["compare", "--data.source", str(tmp_path), "--candidates", "plain,svm:stges"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert "did you mean stages" in err
    assert (out, err.count("\n")) == ("", 1)


def without_room_for_pixels(home, manifest, *candidates):
    """Measure while a file lies where the folder of framed images should be."""
    config = CompareConfig(**{**REQUEST, "candidates": candidates, "training": {**TRAINING, "seed": 5}})
    place = pixels_path(home, manifest, config.request_of("cnn"))
    place.write_text("")
    try:
        return {one.candidate: one for one in measure_candidates(home, manifest, config)}
    finally:
        place.unlink()


def test_a_disk_that_fails_one_candidate_stops_no_other(home, manifest):
    standings = without_room_for_pixels(home, manifest, "cnn", "plain")
    assert standings["cnn"].note.startswith("failed: FileExistsError: ")
    assert (standings["plain"].outcome, len(standings["plain"].macro_f1)) == ("measured", FOLDS)


def test_a_disk_that_fails_them_all_is_the_environment(home, manifest):
    with pytest.raises(FileExistsError):
        without_room_for_pixels(home, manifest, "cnn")


def test_a_budget_too_small_is_one_sentence(home, result, killed):
    with pytest.raises(RequestError, match="the budget of 0s is too small for one candidate"):
        compare(data={"source": str(killed[0].folder / "shapes")}, budget="0s", **REQUEST)


def test_one_label_is_refused_before_anything_is_measured(home, tmp_path):
    paint_class_folders(tmp_path / "one", labels=("round",), images_per_label=6)
    with pytest.raises(DataError, match="two labels or more"):
        compare(data={"source": str(tmp_path / "one")}, **REQUEST)
