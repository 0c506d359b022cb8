"""prefect.yaml as a user deploys it: only when the tests pass, with a complete form, and for a real worker to run."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import mlflow
import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint

from flows.config import GateConfig, TrainingConfig
from tasks.tracking.ledger import Ledger
from tests.conftest import INPUT_SIZE, ROOT, make_command, reap
from tests.makers import paint_class_folders

CONFIG = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS = [pytest.param(deployment, id=deployment["name"]) for deployment in CONFIG["deployments"]]
TEST_COMMAND = "uv run pytest"
LABELS = ("cross", "round", "square")
PROCESS_SECONDS = 240
MODEL = "shapes-classification"
LIMITS = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}


def run_prefect(*arguments, folder, environment):
    """Run the `prefect` command in the project's folder, output to a file; returns exit code and all it said."""
    log = folder / f"{arguments[0]}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment, "PWD": str(ROOT), "PREFECT_HOME": str(folder / "prefect")},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        return process.wait(PROCESS_SECONDS), log.read_text()
    finally:
        reap(process)


def deploy(prefect_url, folder, script):
    """Deploy as a user does, with `script` in place of the tests, which would run this file again."""
    copy = folder / "prefect.yaml"
    copy.write_text(yaml.safe_dump(with_test_script(script)), encoding="utf-8")
    return run_prefect(
        "deploy", "--all", "--prefect-file", str(copy), folder=folder, environment={"PREFECT_API_URL": prefect_url}
    )


def with_test_script(script):
    build = [
        {name: {**step, "script": script} if step["id"] == "tests" else step}
        for named in CONFIG["build"]
        for name, step in named.items()
    ]
    return {**CONFIG, "build": build}


def deployments_on(prefect_url):
    return httpx.post(f"{prefect_url}/deployments/filter", json={}).raise_for_status().json()


def count_runs(prefect_url, deployment_id):
    of_deployment = {"deployments": {"id": {"any_": [deployment_id]}}}
    return httpx.post(f"{prefect_url}/flow_runs/count", json=of_deployment).raise_for_status().json()


@pytest.fixture(scope="module")
def work_pool(prefect_url):
    names = {deployment["work_pool"]["name"] for deployment in CONFIG["deployments"]}
    for name in names:
        httpx.post(f"{prefect_url}/work_pools/", json={"name": name, "type": "process"}).raise_for_status()
    yield prefect_url
    for name in names:
        httpx.delete(f"{prefect_url}/work_pools/{name}")


@pytest.fixture(scope="module")
def deployed(work_pool, tmp_path_factory):
    """The deployments by name, as the server holds them after tests that passed."""
    code, said = deploy(work_pool, tmp_path_factory.mktemp("deploy"), "true")
    assert code == 0, said
    found = deployments_on(work_pool)
    yield {deployment["name"]: deployment for deployment in found}
    for deployment in found:
        httpx.delete(f"{work_pool}/deployments/{deployment['id']}")


def test_build_step_is_the_test_command_of_the_readme():
    (script,) = [step["script"] for named in CONFIG["build"] for step in named.values() if step["id"] == "tests"]
    # Nothing that leaves tests out: no path, no -k, no -m.
    assert f"{{ {TEST_COMMAND} -q && " in script
    assert f"$ {TEST_COMMAND}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_entrypoint_is_a_flow_that_takes_the_parameters(deployment, monkeypatch):
    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert flow.validate_parameters(deployment["parameters"]).items() >= deployment["parameters"].items()


def test_tests_run_once_in_one_deploy_until_they_pass(tmp_path):
    (script,) = [step["script"] for named in CONFIG["build"] for step in named.values() if step["id"] == "tests"]

    def steps_of_one_deploy(tests, count):
        # One shell stands for the `prefect deploy` whose build steps these are.
        step = script.replace(f"{TEST_COMMAND} -q", tests)
        assert step != script
        subprocess.run(["bash", "-c", "; ".join([step] * count) + "; true"], cwd=tmp_path, check=True)
        return (tmp_path / "log").read_text().splitlines()

    assert steps_of_one_deploy("echo passed >> log", 3) == ["passed"]
    assert steps_of_one_deploy("echo passed >> log", 1) == ["passed"] * 2
    assert steps_of_one_deploy("echo failed >> log && false", 2) == ["passed"] * 2 + ["failed"] * 2


def test_failing_tests_deploy_nothing(work_pool, tmp_path):
    # The time of the last change tells an update from a deployment that was there before.
    before = {deployment["name"]: deployment["updated"] for deployment in deployments_on(work_pool)}
    code, said = deploy(work_pool, tmp_path, "false")
    assert code != 0
    assert "run_shell_script" in said
    assert {deployment["name"]: deployment["updated"] for deployment in deployments_on(work_pool)} == before


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_schedules_are_inactive(deployed, deployment):
    schedules = deployed[deployment["name"]]["schedules"]
    assert {schedule["slug"] for schedule in schedules} == {planned["slug"] for planned in deployment["schedules"]}
    assert not any(schedule["active"] for schedule in schedules)


def assert_limited(place, field):
    for kind in (field, *field.get("anyOf", ())):
        if kind.get("type") in {"integer", "number"} and "enum" not in kind:
            assert LIMITS & set(kind), place


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_form_is_complete(deployed, deployment):
    schema = deployed[deployment["name"]]["parameter_openapi_schema"]
    groups = {}
    for name, parameter in schema["properties"].items():
        group = schema.get("definitions", {}).get(parameter.get("$ref", "").rpartition("/")[2], {})
        assert {"title", "position"} <= set(parameter), name
        # A deployment gives what the flow has no default for.
        assert "default" in parameter or name in deployment["parameters"], name
        assert parameter.get("description") or group.get("description"), name
        assert_limited(name, parameter)
        if group:
            groups[name] = group
    detector = groups.get("training", {}).get("properties", {}).get("detector", {})
    if detector:
        groups["training.detector"] = schema["definitions"][detector["$ref"].rpartition("/")[2]]
    for group, fields in groups.items():
        assert fields["additionalProperties"] is False
        for name, field in fields["properties"].items():
            place = f"{group}.{name}"
            assert {"title", "description", "default", "position"} <= set(field), place
            assert_limited(place, field)
        positions = [field["position"] for field in fields["properties"].values()]
        assert positions == sorted(set(positions)), group


@pytest.mark.parametrize(
    ("deployment", "parameters", "words"),
    [
        pytest.param("classification", {"data": {"sauce": "x"}}, "'sauce' was unexpected", id="unknown field"),
        pytest.param("classification", {"gate": {"min_macro_f1": 7}}, "gate.min_macro_f1", id="out of range"),
        pytest.param("classification", {"training": {"input_size": 100}}, "not a multiple of 32", id="wrong multiple"),
        pytest.param("predictions", {"model": "colours"}, "for field 'model'", id="no address"),
        pytest.param("predictions", {"shard_size": 0}, "'shard_size'. Failure reason: 0 is less than", id="no images"),
    ],
)
def test_wrong_parameter_is_refused_before_there_is_a_run(work_pool, deployed, deployment, parameters, words):
    deployment_id = deployed[deployment]["id"]
    before = count_runs(work_pool, deployment_id)
    answer = httpx.post(f"{work_pool}/deployments/{deployment_id}/create_flow_run", json={"parameters": parameters})
    assert answer.status_code == httpx.codes.CONFLICT
    assert words in answer.json()["detail"]
    assert count_runs(work_pool, deployment_id) == before


def asked_for(work_pool, deployment, parameters):
    creation = f"{work_pool}/deployments/{deployment['id']}/create_flow_run"
    return httpx.post(creation, json={"parameters": parameters}).raise_for_status().json()["id"]


def worker_arguments(deployment):
    return ("worker", "start", "--pool", deployment["work_pool_name"], "--type", "process", "--run-once")


def read_run(work_pool, run_id):
    return httpx.get(f"{work_pool}/flow_runs/{run_id}").raise_for_status().json()


@pytest.fixture(scope="module")
def site(tmp_path_factory, prefect_url, exported_home):
    """A home that a worker trains into; what stands in it is promoted afterwards."""
    return make_command(tmp_path_factory.mktemp("site"), prefect_url, exported_home)


@pytest.fixture(scope="module")
def trained_by_worker(work_pool, deployed, site):
    photos = paint_class_folders(site.folder / "shapes", labels=LABELS, images_per_label=8)
    changed = {
        "data": {"source": str(photos)},
        "training": {"input_size": INPUT_SIZE},
        "gate": {"min_macro_f1": 0.0, "min_label_recall": 0.0},
    }
    run_id = asked_for(work_pool, deployed["classification"], changed)
    arguments = worker_arguments(deployed["classification"])
    code, said = run_prefect(*arguments, folder=site.folder, environment=site.environment)
    assert code == 0, said
    return run_id, changed, said


def test_worker_trains_what_was_asked_for(work_pool, deployed, site, trained_by_worker):
    run_id, changed, said = trained_by_worker
    run = read_run(work_pool, run_id)
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Staged"), said
    assert run["parameters"] == {**deployed["classification"]["parameters"], **changed}
    client = mlflow.MlflowClient(site.home.tracking_uri, site.home.registry_uri)
    version = client.get_model_version_by_alias(MODEL, "staging")
    logged = client.get_run(version.run_id).data
    assert logged.tags["prefect.flow_run_id"] == run_id
    # What was asked for, and the defaults for the rest of the group and the other groups.
    assert logged.params["gate.min_macro_f1"] == "0.0"
    assert logged.params["gate.max_latency_ms"] == str(GateConfig().max_latency_ms)
    assert logged.params["training.seed"] == str(TrainingConfig().seed)
    assert logged.params["data.split"] == "70/15/15"


@pytest.mark.usefixtures("trained_by_worker")
def test_person_approves_in_the_form_what_goes_to_production(work_pool, deployed, site):
    """Twice: first the form says no, then it says yes."""
    client = mlflow.MlflowClient(site.home.tracking_uri, site.home.registry_uri)
    outcomes = []
    for approve in (False, True):
        run_id = asked_for(work_pool, deployed["promotion"], {"model": MODEL})
        with ThreadPoolExecutor(1) as thread:
            arguments = worker_arguments(deployed["promotion"])
            worker = thread.submit(run_prefect, *arguments, folder=site.folder, environment=site.environment)
            wait_for_form(work_pool, run_id, worker)
            assert "production" not in client.get_registered_model(MODEL).aliases
            said = {"run_input": {"approve": approve, "who": "Ann", "why": "looked at the report"}}
            resumed = httpx.post(f"{work_pool}/flow_runs/{run_id}/resume", json=said).raise_for_status().json()
            assert resumed["status"] == "ACCEPT", resumed
            code, told = worker.result()
        assert code == 0, told
        outcomes.append(read_run(work_pool, run_id)["state_name"])
    assert outcomes == ["Rejected", "Moved"]
    assert client.get_registered_model(MODEL).aliases["production"] == 1
    last = Ledger(site.home.database_uri).entries(MODEL)[-1]
    assert (last.environment, last.who, last.why) == ("production", "Ann", "looked at the report")


def wait_for_form(work_pool, run_id, worker):
    deadline = time.monotonic() + PROCESS_SECONDS
    while read_run(work_pool, run_id)["state_type"] != "PAUSED":
        assert not worker.done(), worker.result()
        assert time.monotonic() < deadline
        time.sleep(0.5)
