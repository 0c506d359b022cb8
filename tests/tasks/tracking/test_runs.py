import json
import time
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from tasks.errors import DataError, EnvironmentFailed, KeeneyeError, RegistryError
from tasks.register.publish import flat_metrics, flat_parameters, metric_name
from tasks.stores.home import Home
from tasks.tracking.client import connect
from tasks.tracking.runs import (
    MAX_BATCH_METRICS,
    RUN_KEY_TAG,
    TRAIN_KEY_TAG,
    TRAINING_CURVES,
    log_report,
    run_of_key,
    run_of_training,
)
from tests.tasks.conftest import Made

EXPERIMENT = "keeneye/test-runs"


def test_run_of_a_key_is_found_again(shared_home: Home) -> None:
    with run_of_key(shared_home, EXPERIMENT, "again", "first") as run:
        first = run.run_id
        assert _status(shared_home, first) == "RUNNING"
    assert _status(shared_home, first) == "FINISHED"
    with run_of_key(shared_home, EXPERIMENT, "again", "second") as run:
        assert run.run_id == first
        assert _status(shared_home, first) == "RUNNING"
    with run_of_key(shared_home, EXPERIMENT, "other", "other") as run:
        assert run.run_id != first
    found = _client(shared_home).get_run(first)
    assert found.data.tags[RUN_KEY_TAG] == "again"
    assert found.info.run_name == "first"


@pytest.mark.parametrize("kind", [DataError, ValueError, KeyboardInterrupt])
def test_run_fails_when_an_exception_passes(kind: type[BaseException], shared_home: Home) -> None:
    key = f"fails-{kind.__name__}"
    with pytest.raises(kind, match="of the test"), run_of_key(shared_home, EXPERIMENT, key, "n") as run:
        raise kind("of the test")
    assert _status(shared_home, run.run_id) == "FAILED"
    with run_of_key(shared_home, EXPERIMENT, key, "n") as again:
        assert again.run_id == run.run_id
    assert _status(shared_home, run.run_id) == "FINISHED"


def test_exception_is_not_hidden_when_the_run_cannot_be_ended(shared_home: Home) -> None:
    def fail() -> None:
        with run_of_key(shared_home, EXPERIMENT, "deleted inside", "n") as run:
            _client(shared_home).delete_run(run.run_id)
            raise DataError("the cause")

    with pytest.raises(DataError, match="the cause"):
        fail()


def test_refusal_at_the_end_is_keeneyes_own_error(shared_home: Home) -> None:
    with pytest.raises(KeeneyeError), run_of_key(shared_home, EXPERIMENT, "deleted", "n") as run:
        _client(shared_home).delete_run(run.run_id)


def test_deleted_run_is_made_anew(shared_home: Home) -> None:
    with run_of_key(shared_home, EXPERIMENT, "gone", "n") as run:
        pass
    _client(shared_home).delete_run(run.run_id)
    with run_of_key(shared_home, EXPERIMENT, "gone", "n") as again:
        assert again.run_id != run.run_id


def test_figures_files_and_texts_are_logged(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one.txt").write_text("1", encoding="utf-8")
    with run_of_key(shared_home, EXPERIMENT, "logs", "n") as run:
        run.log_figures({"a.b": 3, "long": "x" * 500}, {"m": 0.5}, {"t": "v"})
        run.log_files(tmp_path / "folder", "place")
        run.log_file(tmp_path / "folder" / "one.txt", "single")
        run.log_text("ü", "text.txt")
        assert not run.is_logged
        run.mark_logged()
        assert run.is_logged
    data = _client(shared_home).get_run(run.run_id).data
    assert data.params == {"a.b": "3", "long": "x" * 500}
    assert data.metrics == {"m": 0.5}
    assert data.tags["t"] == "v"
    kept = {
        info.path
        for place in ("", "place", "single")
        for info in _client(shared_home).list_artifacts(run.run_id, place)
    }
    assert {"place/one.txt", "single/one.txt", "text.txt"} <= kept


def test_every_split_is_a_dataset_input(shared_home: Home) -> None:
    with run_of_key(shared_home, EXPERIMENT, "inputs", "n") as run:
        for split, count in (("train", 10), ("validation", 3), ("test", 4)):
            rows = [{"label": "a", "images": count}]
            run.log_dataset("screws", "d" * 64, "/pictures", rows, split)
    inputs = _client(shared_home).get_run(run.run_id).inputs.dataset_inputs
    assert sorted(tag.value for one in inputs for tag in one.tags) == ["test", "train", "validation"]
    assert all(one.dataset.digest.startswith("d" * 30) for one in inputs)
    assert all("/pictures" in json.dumps(json.loads(one.dataset.source)) for one in inputs)


def test_logging_leaves_the_ambient_run_alone(shared_home: Home) -> None:
    connect(shared_home)
    with mlflow.start_run() as ambient:
        with run_of_key(shared_home, EXPERIMENT, "ambient", "n") as run:
            run.log_figures({}, {"m": 1.0}, {})
            run.log_dataset("screws", "e" * 64, "/pictures", [{"label": "a", "images": 1}], "train")
        assert mlflow.active_run().info.run_id == ambient.info.run_id != run.run_id
    assert _client(shared_home).get_run(ambient.info.run_id).data.metrics == {}


def test_experiment_that_the_process_has_chosen_is_left_alone(
    shared_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(shared_home)
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    chosen = mlflow.set_experiment("chosen by the process")
    with run_of_key(shared_home, EXPERIMENT, "chosen", "n") as run:
        run.log_dataset("screws", "f" * 64, "/pictures", [{"label": "a", "images": 1}], "train")
    assert _client(shared_home).get_run(run.run_id).info.experiment_id != chosen.experiment_id


def test_report_is_replaced(shared_home: Home, tmp_path: Path) -> None:
    with run_of_key(shared_home, EXPERIMENT, "report", "n") as run:
        pass
    for text in ("old", "new"):
        (tmp_path / "report.html").write_text(text, encoding="utf-8")
        log_report(shared_home, run.run_id, tmp_path / "report.html")
    kept = _client(shared_home).download_artifacts(run.run_id, "report.html", str(tmp_path / "kept") + "/")
    assert Path(kept).read_text(encoding="utf-8") == "new"


def test_experiment_keeps_its_files_in_the_home(
    shared_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with run_of_key(shared_home, "keeneye/test-place", "k", "n") as run:
        run.log_text("x", "x.txt")
    assert list(tmp_path.iterdir()) == []
    assert list(shared_home.artifacts_path.rglob(f"{run.run_id}/artifacts/x.txt"))


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9", "http://someone:s3cret@127.0.0.1:9", "http://someone:p%40s3cret@127.0.0.1:9/mlflow"],
)
def test_unreachable_server_is_said_quickly_and_without_password(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    start = time.monotonic()
    with (
        pytest.raises(EnvironmentFailed) as caught,
        run_of_key(Home(tmp_path, address, address), EXPERIMENT, "k", "n"),
    ):
        pytest.fail("opened a run on a server that is not there")
    assert time.monotonic() - start < 20
    assert "127.0.0.1:9" in caught.value.message
    assert "s3cret" not in caught.value.message
    assert "s3cret" not in repr(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("foo://somewhere", id="unknown scheme"),
        pytest.param("sqlite:////proc/none/there/mlflow.db", id="folder that cannot be made"),
        pytest.param("postgresql+psycopg2://u:s3cret@127.0.0.1:9/x", id="driver that is not installed"),
    ],
)
def test_unusable_address_is_keeneyes_own_error(address: str, tmp_path: Path) -> None:
    with pytest.raises(KeeneyeError) as caught:
        connect(Home(tmp_path, address, address))
    assert "s3cret" not in caught.value.message


def test_missing_run_is_a_registry_error(shared_home: Home, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("x", encoding="utf-8")
    with pytest.raises(RegistryError, match="0123456789"):
        log_report(shared_home, "0123456789abcdef0123456789abcdef", tmp_path / "r.html")


@pytest.mark.parametrize(
    ("settings", "flat"),
    [
        ({}, {}),
        ({"a": 1}, {"a": "1"}),
        ({"a": {"b": {"c": True}, "d": ""}}, {"a.b.c": "True", "a.d": ""}),
        ({"a": "x" * 900}, {"a": "x" * 500}),
    ],
    ids=["nothing", "one", "nested", "long"],
)
def test_flat_parameters(settings: dict[str, object], flat: dict[str, str]) -> None:
    assert flat_parameters(settings) == flat


ODD = ["a/b:c ü", "x@#$", "..", "-", " blank ", "%s{}", "'quoted'", '"', "汉字", "x" * 256, "a\\b", "//"]


@pytest.mark.parametrize("label", ODD, ids=range(len(ODD)))
def test_odd_label_can_be_logged(label: str, shared_home: Home) -> None:
    name = f"label.{metric_name(label)}.f1"
    with run_of_key(shared_home, EXPERIMENT, f"odd {ODD.index(label)}", "n") as run:
        run.log_figures({}, {name: 0.25}, {})
    assert _client(shared_home).get_run(run.run_id).data.metrics == {name: 0.25}


@pytest.mark.parametrize(
    "labels",
    [("a/b", "a:b"), ("é", "ü"), ("好的", "坏的"), ("x" * 120 + "1", "x" * 120 + "2"), ("a_b", "a@b")],
    ids=["punctuation", "accents", "Chinese", "long", "one already plain"],
)
def test_labels_keep_metrics_of_their_own(labels: tuple[str, str], trained: Made) -> None:
    metrics = trained.evaluation.metrics
    figures = list(metrics.per_label.values())
    renamed = metrics.model_copy(update={"per_label": dict(zip(labels, figures, strict=False))})
    flat = flat_metrics(renamed)
    assert sum(name.endswith(".f1") and name.startswith("label.") for name in flat) == len(labels)


def _rows(*epochs: int) -> list[dict[str, float]]:
    return [{"epoch": float(e), "loss": 1.0 / e, "validation_map": 0.1 * e, "time": 1.7e9 + e} for e in epochs]


def _curve(home: Home, run_id: str, name: str) -> list[tuple[int, float, int]]:
    points = _client(home).get_metric_history(run_id, f"{TRAINING_CURVES}.{name}")
    return [(point.step, point.value, point.timestamp) for point in points]


def test_curves_are_seen_while_training_goes_on(shared_home: Home) -> None:
    with run_of_training(shared_home, EXPERIMENT, "live", "n") as run:
        for epoch in (1, 2):
            run.log_steps(_rows(epoch), TRAINING_CURVES)
            expected = [(e, 1.0 / e, 1_700_000_000_000 + 1000 * e) for e in range(1, epoch + 1)]
            assert _curve(shared_home, run.run_id, "loss") == expected
            assert _status(shared_home, run.run_id) == "RUNNING"
    assert _status(shared_home, run.run_id) == "FINISHED"
    found = _client(shared_home).get_run(run.run_id)
    assert found.data.tags[TRAIN_KEY_TAG] == "live"
    assert RUN_KEY_TAG not in found.data.tags
    assert set(found.data.metrics) == {f"{TRAINING_CURVES}.loss", f"{TRAINING_CURVES}.validation_map"}


def test_row_that_was_logged_before_adds_no_point(shared_home: Home) -> None:
    with run_of_training(shared_home, EXPERIMENT, "twice", "n") as run:
        run.log_steps(_rows(1, 2), TRAINING_CURVES)
        run.log_steps(_rows(1, 2, 3), TRAINING_CURVES)
        run.log_steps(_rows(3), TRAINING_CURVES)
    for name in ("loss", "validation_map"):
        assert [step for step, _, _ in _curve(shared_home, run.run_id, name)] == [1, 2, 3]


def test_long_training_is_logged_in_parts(shared_home: Home) -> None:
    epochs = MAX_BATCH_METRICS // 2 + 10
    with run_of_training(shared_home, EXPERIMENT, "long", "n") as run:
        run.log_steps(_rows(*range(1, epochs + 1)), TRAINING_CURVES)
        run.log_steps([], TRAINING_CURVES)
    for name in ("loss", "validation_map"):
        assert [step for step, _, _ in _curve(shared_home, run.run_id, name)] == list(range(1, epochs + 1))


@pytest.mark.parametrize("kind", [DataError, KeyboardInterrupt])
def test_killed_training_goes_on_in_its_run(kind: type[BaseException], shared_home: Home) -> None:
    key = f"killed-{kind.__name__}"
    with pytest.raises(kind), run_of_training(shared_home, EXPERIMENT, key, "n") as killed:
        killed.log_steps(_rows(1), TRAINING_CURVES)
        raise kind("of the test")
    assert _status(shared_home, killed.run_id) == "FAILED"
    with run_of_training(shared_home, EXPERIMENT, key, "n") as run:
        assert run.run_id == killed.run_id
        assert _status(shared_home, run.run_id) == "RUNNING"
        run.log_steps(_rows(1, 2), TRAINING_CURVES)
    assert _status(shared_home, run.run_id) == "FINISHED"
    assert [step for step, _, _ in _curve(shared_home, run.run_id, "loss")] == [1, 2]


def test_first_request_takes_over_the_run_of_its_training(shared_home: Home) -> None:
    with run_of_training(shared_home, EXPERIMENT, "adopted", "training") as training:
        training.log_steps(_rows(1), TRAINING_CURVES)
    with run_of_key(shared_home, EXPERIMENT, "adopts-first", "first", "adopted") as first:
        assert first.run_id == training.run_id
    with run_of_key(shared_home, EXPERIMENT, "adopts-second", "second", "adopted") as second:
        assert second.run_id != training.run_id
    for key, run in (("adopts-first", first), ("adopts-second", second)):
        with run_of_key(shared_home, EXPERIMENT, key, "again", "adopted") as again:
            assert again.run_id == run.run_id
    found = _client(shared_home).get_run(training.run_id)
    assert found.data.tags[RUN_KEY_TAG] == "adopts-first"
    assert found.data.tags[TRAIN_KEY_TAG] == "adopted"
    assert found.info.run_name == "first"
    assert [step for step, _, _ in _curve(shared_home, training.run_id, "loss")] == [1]


def test_request_without_training_takes_over_nothing(shared_home: Home) -> None:
    with run_of_training(shared_home, EXPERIMENT, "alone", "n") as training:
        pass
    for key, train_key in (("alone-1", ""), ("alone-2", "another training")):
        with run_of_key(shared_home, EXPERIMENT, key, "n", train_key) as run:
            assert run.run_id != training.run_id


def test_training_of_another_experiment_is_not_taken_over(shared_home: Home) -> None:
    with run_of_training(shared_home, "keeneye/test-elsewhere", "elsewhere", "n") as training:
        pass
    with run_of_key(shared_home, EXPERIMENT, "elsewhere", "n", "elsewhere") as run:
        assert run.run_id != training.run_id


def test_run_of_a_request_is_not_trained_into_again(shared_home: Home) -> None:
    with run_of_training(shared_home, EXPERIMENT, "closed", "n") as training:
        training.log_steps(_rows(1), TRAINING_CURVES)
    with run_of_key(shared_home, EXPERIMENT, "closes", "n", "closed"):
        pass
    with run_of_training(shared_home, EXPERIMENT, "closed", "n") as again:
        assert again.run_id != training.run_id


def _client(home: Home) -> MlflowClient:
    return MlflowClient(home.tracking_uri, home.registry_uri)


def _status(home: Home, run_id: str) -> str:
    return _client(home).get_run(run_id).info.status
