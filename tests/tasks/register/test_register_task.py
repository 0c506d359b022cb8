import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow import MlflowClient

from flows.config import DataConfig, EvaluationConfig, RegistryConfig, ShardsConfig, TrainConfig, TrainingConfig
from tasks.dataset.entries import Split
from tasks.evaluate.records import NOT_JUDGED, Evaluation, GateVerdict
from tasks.inference_test.records import InferenceOutcome, InferenceTest
from tasks.promote.records import StagingOutcome
from tasks.register import task as register_module
from tasks.register.records import RegisteredVersion
from tasks.register.task import judge_version, note_staging, register_version, run_key_of
from tasks.tracking.client import connect
from tasks.tracking.environments import Environments
from tasks.tracking.ledger import Ledger
from tasks.tracking.registry import DATASET_DIGEST_TAG, REASONS_TAG, STATUS_TAG, Registry, VersionInfo
from tasks.tracking.runs import LOGGED_TAG, RUN_KEY_TAG, Run
from tests.flows.environments import move_untested
from tests.tasks.conftest import LENIENT, Made, paint_folders

GOOD = InferenceTest(outcome=InferenceOutcome(passed=True))
BROKEN = InferenceTest(outcome=InferenceOutcome(passed=False, reasons=("inference test: it is broken",)))


@pytest.fixture(scope="module")
def registered(trained: Made) -> RegisteredVersion:
    return _register(trained, trained.named("register-one"))


def test_version_belongs_to_its_run(registered: RegisteredVersion, trained: Made) -> None:
    assert registered.model_uri == "models:/register-one/1"
    assert registered.status == "candidate"
    assert registered.aliases == ()
    assert registered.bundle_digest == trained.model.bundle_digest
    assert not registered.reused
    assert registered.seconds > 0
    info = Registry(trained.home).version("register-one", "1")
    assert info.run_id == registered.mlflow_run_id
    assert info.tags[RUN_KEY_TAG] == registered.run_key == registered.key
    assert info.tags[DATASET_DIGEST_TAG] == trained.manifest.dataset_digest


def test_run_holds_settings_and_figures(registered: RegisteredVersion, trained: Made) -> None:
    run = _client(trained).get_run(registered.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert _client(trained).get_experiment(run.info.experiment_id).name == "keeneye/colours"
    params, metrics = run.data.params, run.data.metrics
    assert params["training.input_size"] == "64"
    assert params["gate.min_macro_f1"] == "0.0"
    assert params["dataset"] == "colours"
    assert float(params["chosen.strength"]) == trained.model.chosen["strength"]
    measured = trained.evaluation.metrics
    assert metrics["test.accuracy"] == measured.accuracy
    assert metrics["test.macro_f1"] == measured.macro_f1
    assert metrics["cross_validated.macro_f1"] == measured.cross_validated.macro_f1
    for label, figures in measured.per_label.items():
        assert metrics[f"label.{label}.recall"] == figures.recall
        assert metrics[f"label.{label}.threshold"] == figures.threshold


def test_run_holds_its_files(registered: RegisteredVersion, trained: Made, tmp_path: Path) -> None:
    root = Path(_client(trained).download_artifacts(registered.mlflow_run_id, "", str(tmp_path)))
    kept = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    figures = ("confusion_matrix", "per_label", "precision_recall", "roc", "calibration")
    assert {f"figures/{name}.{ending}" for name in figures for ending in ("png", "svg")} <= kept
    assert {"evaluation/EvaluationResultSummary.json", "evaluation/EvaluationSnapshot.manifest"} <= kept
    settings = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    assert TrainConfig.model_validate(settings) == trained.named("register-one")
    for split in ("train", "validation", "test"):
        logged = (root / "manifests" / f"{split}.manifest").read_bytes()
        assert logged == trained.manifest.manifest_path(split).read_bytes()


def test_every_split_is_a_dataset_input(registered: RegisteredVersion, trained: Made) -> None:
    inputs = _client(trained).get_run(registered.mlflow_run_id).inputs.dataset_inputs
    assert sorted(tag.value for one in inputs for tag in one.tags) == ["test", "train", "validation"]
    assert all(trained.manifest.dataset_digest.startswith(one.dataset.digest) for one in inputs)


@pytest.mark.parametrize(
    ("options", "split", "place"),
    [
        ({"source": "s3://bucket/photos"}, "test", "s3://bucket/photos"),
        ({"source": "s3://bucket/photos", "test_source": "s3://bucket/others"}, "test", "s3://bucket/others"),
        ({"source": "s3://bucket/photos", "test_source": "s3://bucket/others"}, "train", "s3://bucket/photos"),
        ({"source": "coco.json", "image_root": "s3://bucket/photos"}, "train", "s3://bucket/photos"),
        ({"source": "s3://bucket/coco.json", "image_root": "/photos"}, "train", "below"),
        ({"source": "photos"}, "train", "below"),
    ],
)
def test_dataset_is_from_where_its_images_are(options: dict[str, str], split: Split, place: str, trained: Made) -> None:
    below = trained.manifest.roots[split]
    found = register_module._source_of(split, trained.manifest, DataConfig(**options))
    assert found == (below if place == "below" else place)


def test_same_request_registers_and_logs_once(registered: RegisteredVersion, trained: Made) -> None:
    again = _register(trained, trained.named("register-one"))
    assert again.reused
    assert (again.model_version, again.mlflow_run_id) == (registered.model_version, registered.mlflow_run_id)
    assert len(_client(trained).search_model_versions("name = 'register-one'")) == 1
    assert set(_history_lengths(trained, registered).values()) == {1}
    assert len(_runs_of(trained, registered.run_key)) == 1


@pytest.mark.parametrize("stops_in", ["log_text", "log_dataset", "mark_logged"])
def test_request_that_was_stopped_is_finished_and_logs_once(
    stops_in: str, trained: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained.named(f"register-stopped-{stops_in}")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(Run, stops_in, stop)
        with pytest.raises(KeyboardInterrupt):
            _register(trained, config)
    version = _register(trained, config)
    assert version.model_version == "1"
    assert set(_history_lengths(trained, version).values()) == {1}
    run = _client(trained).get_run(version.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[LOGGED_TAG] == "true"
    assert len(_runs_of(trained, version.run_key)) == 1


def test_two_threads_with_one_request_make_one_version_and_one_run(trained: Made) -> None:
    config = trained.named("register-threads")
    with ThreadPoolExecutor(2) as pool:
        versions = list(pool.map(lambda _: _register(trained, config), range(2)))
    assert {version.model_version for version in versions} == {"1"}
    assert len(_client(trained).search_model_versions("name = 'register-threads'")) == 1
    assert len(_runs_of(trained, versions[0].run_key)) == 1
    assert set(_history_lengths(trained, versions[0]).values()) == {1}


def test_two_threads_with_two_requests_make_two_versions(trained: Made) -> None:
    configs = [trained.named("register-pair", gate=LENIENT.model_copy(update={"min_macro_f1": f})) for f in (0.1, 0.2)]
    with ThreadPoolExecutor(2) as pool:
        versions = list(pool.map(lambda config: _register(trained, config), configs))
    assert {version.model_version for version in versions} == {"1", "2"}
    assert len({version.mlflow_run_id for version in versions}) == 2


CHANGES: dict[str, tuple[dict[str, object], bool]] = {
    "gate": ({"gate": LENIENT.model_copy(update={"min_macro_f1": 0.5})}, True),
    "seed": ({"training": TrainingConfig(input_size=64, seed=3)}, True),
    "folds": ({"evaluation": EvaluationConfig(folds=4)}, True),
    "staging": ({"registry": RegistryConfig(stage=False)}, True),
    "who carries out shards": ({"shards": ShardsConfig(threads=1)}, False),
    "place of the data": ({"data": DataConfig(source="/elsewhere")}, False),
    "nothing": ({}, False),
}


@pytest.mark.parametrize(("groups", "differs"), CHANGES.values(), ids=CHANGES.keys())
def test_run_key(groups: dict[str, object], differs: bool, trained: Made) -> None:
    def key(config: TrainConfig, name: str = "m") -> str:
        return run_key_of(trained.manifest, trained.model, trained.evaluation, config, name)

    assert (key(trained.config(**groups)) != key(trained.config())) == differs
    assert key(trained.config(), "other") != key(trained.config())


def test_other_gate_makes_another_version(registered: RegisteredVersion, trained: Made) -> None:
    stricter = trained.named("register-one", gate=LENIENT.model_copy(update={"min_macro_f1": 0.01}))
    other = _register(trained, stricter)
    assert other.model_version == "2"
    assert other.mlflow_run_id != registered.mlflow_run_id


def test_name_of_the_model_is_made_from_dataset_and_task(trained: Made) -> None:
    assert _register(trained, trained.config()).model_name == "colours-classification"


JUDGED = {
    "good": ((), GOOD, "registered"),
    "gate failed": (("recall too low",), GOOD, "rejected"),
    "inference test failed": ((), BROKEN, "rejected"),
    "both failed": (("a", "b"), BROKEN, "rejected"),
    "gate not judged": (None, GOOD, "rejected"),
}


@pytest.mark.parametrize(("gate", "trial", "status"), JUDGED.values(), ids=JUDGED.keys())
def test_status_by_gate_and_inference_test(
    gate: tuple[str, ...] | None, trial: InferenceTest, status: str, registered: RegisteredVersion, trained: Made
) -> None:
    judged = judge_version.fn(trained.home, registered, _judged(trained, gate), trial)
    assert judged.status == status
    assert (status == "rejected") == bool(judged.reasons)
    assert set(gate or ()) | set(trial.outcome.reasons) <= set(judged.reasons)
    info = _version(trained, registered)
    assert (info.tags[STATUS_TAG], info.tags[REASONS_TAG]) == (status, "; ".join(judged.reasons))


NOTED = {
    "stands": (StagingOutcome(stands=True, replaced="3"), "staged", "staged"),
    "pushed out since": (StagingOutcome(stands=False), "registered", "registered"),
    "waits for a person": (StagingOutcome(stands=False, reasons=("ask Ann",)), "registered", "registered"),
    "refused": (StagingOutcome(stands=False, refused=True, reasons=("it is worse",)), "rejected", "refused"),
}


@pytest.mark.parametrize(("outcome", "status", "tag"), NOTED.values(), ids=NOTED.keys())
def test_status_by_what_came_of_staging(
    outcome: StagingOutcome, status: str, tag: str, registered: RegisteredVersion, trained: Made
) -> None:
    noted = note_staging.fn(trained.home, registered, outcome)
    assert (noted.status, noted.reasons, noted.replaced) == (status, outcome.reasons, outcome.replaced)
    info = _version(trained, registered)
    assert (info.tags[STATUS_TAG], info.tags[REASONS_TAG]) == (tag, "; ".join(outcome.reasons))
    assert _register(trained, trained.named("register-one")).status == tag


@pytest.mark.parametrize("is_replaced", [False, True], ids=["stands", "stood"])
def test_what_was_in_use_keeps_its_status_when_its_training_fails_later(is_replaced: bool, trained: Made) -> None:
    config = trained.named(f"in-use-{is_replaced}")
    version = _register(trained, config)
    _register(trained, config.model_copy(update={"gate": LENIENT.model_copy(update={"min_macro_f1": 0.1})}))
    judge_version.fn(trained.home, version, _judged(trained, ()), GOOD)
    for number in ("1", "2")[: 1 + is_replaced]:
        move_untested(trained.home, version.model_name, number, "production")
    judged = judge_version.fn(trained.home, version, _judged(trained, ()), BROKEN)
    assert (judged.status, judged.reasons) == ("rejected", BROKEN.outcome.reasons)
    assert Environments(Registry(trained.home), Ledger(trained.home.database_uri)).repair(version.model_name) == []
    info = _version(trained, version)
    assert info.tags[STATUS_TAG] == "registered"
    assert info.aliases == judged.aliases == (() if is_replaced else ("production",))


def test_what_has_an_alias_from_before_the_ledger_keeps_its_status(trained: Made) -> None:
    version = _register(trained, trained.named("in-use-before"))
    registry = Registry(trained.home)
    registry.set_alias(_version(trained, version), "staging")
    assert judge_version.fn(trained.home, version, _judged(trained, ()), BROKEN).aliases == ("staging",)
    assert _version(trained, version).tags[STATUS_TAG] == "candidate"


def test_odd_label_names_are_registered(make_trained: Callable[[Path], Made], tmp_path: Path) -> None:
    labels = ("b:c ü", "x@#$", "_hidden", "%s{}")
    made = make_trained(paint_folders(tmp_path / "odd names", dict.fromkeys(labels, 7), side=40))
    version = _register(made, made.config())
    assert version.model_name == "odd-names-classification"
    metrics = _client(made).get_run(version.mlflow_run_id).data.metrics
    assert sum(name.startswith("label.") and name.endswith(".f1") for name in metrics) == len(labels)


def test_ambient_run_of_the_process_is_left_alone(trained: Made) -> None:
    connect(trained.home)
    with mlflow.start_run() as ambient:
        version = _register(trained, trained.named("register-ambient"))
    assert version.mlflow_run_id != ambient.info.run_id
    found = _client(trained).get_run(ambient.info.run_id)
    assert found.data.params == found.data.metrics == {}
    assert not found.outputs.model_outputs
    own = _client(trained).get_run(version.mlflow_run_id)
    assert len(own.outputs.model_outputs) == 1


def test_damaged_figures_are_no_reason_to_register_half(trained: Made, tmp_path: Path) -> None:
    copied = shutil.copytree(trained.evaluation.entry_path, tmp_path / "evaluation")
    (copied / "EvaluationSnapshot.manifest").unlink()
    evaluation = trained.evaluation.model_copy(update={"entry_path": str(copied)})
    config = trained.named("register-damaged")
    with pytest.raises(Exception, match="EvaluationSnapshot"):
        register_version.fn(trained.home, trained.manifest, trained.model, evaluation, config)
    assert _client(trained).search_model_versions("name = 'register-damaged'") == []
    assert _register(trained, config).model_version == "1"


def _register(made: Made, config: TrainConfig) -> RegisteredVersion:
    return register_version.fn(made.home, made.manifest, made.model, made.evaluation, config)


def _judged(made: Made, reasons: tuple[str, ...] | None) -> Evaluation:
    verdict = None
    if reasons is not None:
        verdict = GateVerdict(passed=not reasons, reasons=reasons, judged_on={}, macro_f1=0.5)
    return made.evaluation.model_copy(update={"gate": verdict or NOT_JUDGED})


def _client(made: Made) -> MlflowClient:
    return MlflowClient(made.home.tracking_uri, made.home.registry_uri)


def _version(made: Made, version: RegisteredVersion) -> VersionInfo:
    return Registry(made.home).version(version.model_name, version.model_version)


def _history_lengths(made: Made, version: RegisteredVersion) -> dict[str, int]:
    client = _client(made)
    names = client.get_run(version.mlflow_run_id).data.metrics
    return {name: len(client.get_metric_history(version.mlflow_run_id, name)) for name in names}


def _runs_of(made: Made, run_key: str) -> list[str]:
    client = _client(made)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{RUN_KEY_TAG}` = '{run_key}'")
    return [run.info.run_id for run in found]
