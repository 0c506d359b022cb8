"""`prefect.yaml` as Prefect takes it: deployed to a real server, and run by a real worker."""

import importlib
import json
import signal
import subprocess
import sys
import time

import httpx
import mlflow
import pytest
import yaml

from flows.config import TrainConfig
from tests.conftest import INPUT_SIZE, ROOT, reap
from tests.makers import paint_class_folders

DEFINITION = yaml.safe_load((ROOT / "prefect.yaml").read_text())
TEST_COMMAND = "uv run pytest"
NAME = "train/classification"
FINISH_SECONDS = 240


def prefect_command(*arguments, environment, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=180,
    )


def deploy(keeneye, *, build):
    """Deploy everything with the build step's command replaced: the real one would run these tests again."""
    definition = json.loads(json.dumps(DEFINITION))
    definition["build"][0]["prefect.deployments.steps.run_shell_script"]["script"] = build
    definition["pull"][0]["prefect.deployments.steps.set_working_directory"]["directory"] = str(ROOT)
    path = keeneye.folder / "prefect.yaml"
    path.write_text(yaml.safe_dump(definition))
    environment = {**keeneye.environment, "PREFECT_HOME": str(keeneye.folder / "prefect")}
    return prefect_command("deploy", "--all", "--prefect-file", str(path), environment=environment)


def deployment(url):
    return httpx.get(f"{url}/deployments/name/{NAME}")


def test_deploying_runs_the_tests_of_the_readme_first():
    steps = [step["prefect.deployments.steps.run_shell_script"]["script"] for step in DEFINITION["build"]]
    assert any(script.startswith(TEST_COMMAND) for script in steps)
    assert TEST_COMMAND in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("definition", DEFINITION["deployments"], ids=lambda definition: definition["name"])
def test_deployment_names_a_flow_and_valid_parameters(definition):
    path, _, name = definition["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert set(definition["parameters"]) <= set(flow.parameters.properties)
    assert TrainConfig.model_validate(definition["parameters"])
    assert definition["description"]
    assert not any(schedule["active"] for schedule in definition["schedules"])


def test_failing_tests_deploy_nothing(keeneye, prefect_url):
    before = deployment(prefect_url).json()
    ended = deploy(keeneye, build="false")
    assert ended.returncode != 0
    assert deployment(prefect_url).json() == before


def test_worker_runs_a_deployed_flow_with_a_parameter_changed(keeneye, prefect_url):
    pool = DEFINITION["deployments"][0]["work_pool"]["name"]
    httpx.post(f"{prefect_url}/work_pools/", json={"name": pool, "type": "process"}).raise_for_status()
    ended = deploy(keeneye, build="true")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    deployed = deployment(prefect_url).json()

    # The form: every field of every group with its limits and its sentence.
    groups = deployed["parameter_openapi_schema"]["definitions"]
    for group in ("DataConfig", "TrainingConfig", "EvaluationConfig", "GateConfig", "RegistryConfig"):
        assert all(field["description"] for field in groups[group]["properties"].values())
    assert groups["GateConfig"]["properties"]["min_macro_f1"]["maximum"] == 1.0

    # What the model refuses is refused before a run exists.
    runs = f"{prefect_url}/deployments/{deployed['id']}/create_flow_run"
    for wrong in ({"gate": {"min_macro_f1": 7}}, {"data": {"sauce": "x"}}):
        assert httpx.post(runs, json={"parameters": wrong}).status_code in (409, 422)

    paint_class_folders(keeneye.folder / "parts", ("cross", "round"), 12)
    parameters = {
        "data": {"source": str(keeneye.folder / "parts")},
        "training": {"input_size": INPUT_SIZE},
        "gate": {"min_macro_f1": 0.1},
    }
    run = httpx.post(runs, json={"parameters": parameters}).json()
    worker = keeneye.start("worker", "start", "--pool", pool, program=("-m", "prefect"), name="worker")
    try:
        state = finished_state(prefect_url, run["id"])
    finally:
        worker.send_signal(signal.SIGINT)
        reap(worker)
    log = (keeneye.folder / "worker.err").read_text() + (keeneye.folder / "worker.out").read_text()
    assert state == "COMPLETED", log

    client = mlflow.MlflowClient(keeneye.home.tracking_uri, keeneye.home.registry_uri)
    version = client.get_model_version_by_alias("parts-classification", "staging")
    logged = client.get_run(version.run_id).data
    assert logged.tags["prefect.flow_run_id"] == run["id"]
    assert logged.params["gate.min_macro_f1"] == "0.1"
    assert logged.params["gate.min_label_recall"] == "0.6"


def finished_state(url, flow_run):
    deadline = time.monotonic() + FINISH_SECONDS
    while time.monotonic() < deadline:
        state = httpx.get(f"{url}/flow_runs/{flow_run}").json()["state_type"]
        if state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        time.sleep(0.5)
    raise TimeoutError(flow_run)
