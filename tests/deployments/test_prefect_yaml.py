"""prefect.yaml as a user deploys it: only when the tests pass, with a complete form, and for a real worker to run."""

import asyncio
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import mlflow
import pytest
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.server.schemas.schedules import CronSchedule

from flows.arrival_events import DEPLOYMENT_LABEL, EVENT
from flows.config import GateConfig, TrainingConfig
from tasks.tracking.ledger import Ledger
from tests.conftest import ROOT, call_prefect
from tests.deployments.conftest import MODEL
from tests.deployments.deploying import (
    CONFIG,
    asked_for,
    carry_out,
    deploy,
    deployments_on,
    read_run,
    runs_of,
    wait_until,
)

DEPLOYMENTS = [pytest.param(deployment, id=deployment["name"]) for deployment in CONFIG["deployments"]]
TEST_COMMAND = "uv run pytest"
LIMITS = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}


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
def test_schedules_are_registered_and_inactive(deployed, deployment):
    schedules = {schedule["slug"]: schedule for schedule in deployed[deployment["name"]]["schedules"]}
    assert set(schedules) == {planned["slug"] for planned in deployment["schedules"]}
    for planned in deployment["schedules"]:
        schedule = schedules[planned["slug"]]
        assert not schedule["active"]
        cron = CronSchedule.model_validate(schedule["schedule"])
        assert (cron.cron, cron.timezone) == (planned["cron"], "UTC")
        first, second = asyncio.run(cron.get_dates(2))
        assert second - first == timedelta(days=1)


@pytest.mark.parametrize("deployment", [one for one in DEPLOYMENTS if "triggers" in one.values[0]])
def test_automation_waits_for_the_events_of_its_deployment(work_pool, deployed, deployment):
    held = deployed[deployment["name"]]
    (automation,) = call_prefect(work_pool, "GET", f"/automations/related-to/prefect.deployment.{held['id']}")
    name = f"{deployment['entrypoint'].rpartition(':')[2]}/{held['name']}"
    assert (automation["trigger"]["match"], automation["trigger"]["expect"]) == ({DEPLOYMENT_LABEL: name}, [EVENT])
    (action,) = automation["actions"]
    assert (automation["enabled"], action["deployment_id"]) == (True, held["id"])
    assert action["parameters"] == deployment["triggers"][0]["parameters"]


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
    before = runs_of(work_pool, deployed[deployment])
    answer = httpx.post(f"{work_pool}/deployments/{deployment_id}/create_flow_run", json={"parameters": parameters})
    assert answer.status_code == httpx.codes.CONFLICT
    assert words in answer.json()["detail"]
    assert runs_of(work_pool, deployed[deployment]) == before


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("trained_by_worker")
def test_person_approves_in_the_form_what_goes_to_production(work_pool, deployed, site):
    """Twice: first the form says no, then it says yes."""
    client = mlflow.MlflowClient(site.home.tracking_uri, site.home.registry_uri)
    outcomes = []
    for approve in (False, True):
        run_id = asked_for(work_pool, deployed["promotion"], {"model": MODEL})
        with ThreadPoolExecutor(1) as thread:
            worker = thread.submit(carry_out, site, deployed["promotion"])
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
    wait_until(lambda: read_run(work_pool, run_id)["state_type"] == "PAUSED", lambda: not worker.done())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        pytest.param("from-any-source", "Written", "", id="ground truth"),
        pytest.param("predictions", "Written", "", id="predictions"),
        pytest.param("detection", "Staged", "defects-detection version 1", id="detector"),
        pytest.param("comparison", "Compared", "Recommended: plain", id="comparison"),
        pytest.param("another-format", "Exported", "", id="export"),
        pytest.param("rollback", "Moved", "version 1 stands in production", id="rollback"),
    ],
)
def test_worker_carries_out(carried_out, name, state, words):
    run = carried_out[name]
    assert run["state_name"] == state, run["state"]["message"]
    assert words in run["state"]["message"]


@pytest.mark.slow
def test_file_dropped_into_a_watched_folder_is_predicted(carried_out, started_by_a_file, site, inbox):
    _, said = started_by_a_file
    assert (said["status"], said["folder"], said["images"]) == ("stopped", str(inbox), 2)
    (predictions,) = (site.home.root / "predictions" / MODEL).rglob("predictions.jsonl")
    (line,) = predictions.read_text().splitlines()
    assert json.loads(line)["image"] == "line 1/part.png"
    assert "broken.png" in predictions.with_name("findings.jsonl").read_text()
    assert carried_out["predictions"]["created_by"]["type"] == "AUTOMATION"
