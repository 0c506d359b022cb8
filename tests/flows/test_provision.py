"""`keeneye provision` on real servers: says what it does, does it, and a second time changes nothing."""

import os
from uuid import uuid4

import pytest
from botocore.exceptions import NoCredentialsError
from prefect import flow
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.__main__ import parse
from flows.deploying import deploy_all, deployment_names
from flows.orphaned_runs import begin
from flows.provision import provision
from flows.provision_config import ProvisionConfig, promotion_limit, training_limit
from flows.run_processes import RUN_VARIABLE
from flows.store_block import save_block
from tasks.errors import EnvironmentFailed, RequestError
from tasks.stores.home import Home
from tasks.stores.role_keys import ROLE_SECRETS, STORE_ADDRESS, STORE_KEY_ID, STORE_SECRET
from tasks.stores.s3_buckets import has_bucket, has_rule, put_rule, unfinished_uploads_rule
from tasks.stores.s3_requests import transfer_client
from tasks.tracking.client import connect
from tests.conftest import call_prefect
from tests.object_store import READER, free_ports

RUNS_SECRET = "runs-secret-runs-secret"
QUICK = {"bucket": "provisioned", "models": ("bolts", "nuts"), "datasets": ("line7",), "deploy": False}


@pytest.fixture
def home(tmp_path, monkeypatch, prefect, in_object_store):
    monkeypatch.setenv(ROLE_SECRETS["ingest"], RUNS_SECRET)
    monkeypatch.setenv("KEENEYE_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return Home.from_environment()


def outcomes(result, without=""):
    """By kind and name, what became of all parts, or of those that other tests of the session have not made too."""
    return {(part.kind, part.name): part.outcome for part in result.parts if part.kind != without}


def test_plan_changes_nothing_and_a_second_run_neither(home, prefect, capfd):
    planned = provision(ProvisionConfig(plan=True, **QUICK))
    assert planned.status == "planned"
    assert planned.changed == 0
    assert set(outcomes(planned, without="work pool").values()) == {"would be made"}
    assert not has_bucket(transfer_client(), "provisioned")
    made = provision(ProvisionConfig(**QUICK))
    assert outcomes(made).keys() == outcomes(planned).keys()
    assert set(outcomes(made, without="work pool").values()) == {"made"}
    assert len(made.parts) == 10
    assert RUNS_SECRET not in f"{planned}{made}"
    before = state(home, prefect)
    again = provision(ProvisionConfig(**QUICK))
    assert set(outcomes(again).values()) == {"unchanged"}
    assert again.changed == 0
    assert state(home, prefect) == before
    told = capfd.readouterr().err.splitlines()
    assert "keeneye: bucket provisioned: would be made" in told
    assert "keeneye: registered model nuts: unchanged" in told
    assert "keeneye: secret block keeneye-store-ingest: would be made" in told
    assert RUNS_SECRET not in "".join(told)


def test_store_that_nobody_named_is_no_managed_one(home, monkeypatch):
    monkeypatch.delenv(STORE_ADDRESS)
    with pytest.raises(RequestError, match=r'no object store is named in AWS_ENDPOINT_URL_S3.*--bucket ""'):
        provision(ProvisionConfig(**QUICK))


def state(home, prefect):
    """Everything of the servers that provisioning touches."""
    client, store = connect(home), transfer_client()
    limits = call_prefect(prefect, "POST", "/concurrency_limits/filter", {})
    pools = call_prefect(prefect, "POST", "/work_pools/filter", {})
    return (
        [(one.name, one.creation_timestamp) for one in client.search_registered_models()],
        [(one.name, one.last_update_time) for one in client.search_experiments()],
        sorted((one["tag"], one["concurrency_limit"], one["updated"]) for one in limits),
        sorted((one["name"], one["type"]) for one in pools),
        sorted((one["name"], one["updated"]) for one in call_prefect(prefect, "POST", "/block_documents/filter", {})),
        [one["Name"] for one in store.list_buckets()["Buckets"]],
        store.get_bucket_lifecycle_configuration(Bucket="provisioned")["Rules"],
    )


def test_what_differs_is_changed_and_nothing_else(home, prefect):
    provision(ProvisionConfig(**QUICK))
    changed = provision(ProvisionConfig(**QUICK | {"trainings": 3, "unfinished_days": 2}))
    assert [part.kind for part in changed.parts if part.outcome == "made"] == ["lifecycle of", "limit"]
    limits = {
        one["tag"]: one["concurrency_limit"] for one in call_prefect(prefect, "POST", "/concurrency_limits/filter", {})
    }
    assert limits[training_limit()] == 3
    assert limits[promotion_limit("bolts")] == 1


@flow
def object_as_a_run_sees_it(bucket):
    begin()
    return transfer_client().get_object(Bucket=bucket, Key="first")["Body"].read()


def test_run_without_a_key_takes_the_stores_from_its_block(home, prefect, in_object_store, monkeypatch):
    provision(ProvisionConfig(**QUICK))
    shown = call_prefect(prefect, "POST", "/block_documents/filter", {})
    assert "keeneye-store-ingest" in {one["name"] for one in shown}
    assert RUNS_SECRET not in str(shown)
    own = {name: os.environ[name] for name in (STORE_KEY_ID, STORE_SECRET)}
    for name in (STORE_KEY_ID, STORE_SECRET, STORE_ADDRESS):
        monkeypatch.delenv(name)
    # A command has nobody's key but that of who gave it; a worker's run has the variable.
    assert isinstance(object_as_a_run_sees_it("pictures", return_state=True).result(False), NoCredentialsError)
    monkeypatch.setenv(RUN_VARIABLE, str(uuid4()))
    object_as_a_run_sees_it("pictures", return_state=True)
    found = tuple(os.environ[name] for name in (STORE_KEY_ID, STORE_SECRET, STORE_ADDRESS))
    assert found == ("ingest", RUNS_SECRET, in_object_store.endpoint)
    for name in (STORE_KEY_ID, STORE_SECRET, STORE_ADDRESS):
        monkeypatch.delenv(name)
    save_block({**READER, STORE_ADDRESS: in_object_store.endpoint})  # a key that this store knows
    assert object_as_a_run_sees_it(in_object_store.bucket) == b"1"
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert object_as_a_run_sees_it(in_object_store.bucket) == b"1"
    assert os.environ[STORE_KEY_ID] == own[STORE_KEY_ID]


def test_another_key_renews_the_block(home, monkeypatch):
    provision(ProvisionConfig(**QUICK))
    monkeypatch.setenv(ROLE_SECRETS["ingest"], "another")
    renewed = provision(ProvisionConfig(**QUICK))
    assert [part.name for part in renewed.parts if part.outcome == "made"] == ["keeneye-store-ingest"]
    assert provision(ProvisionConfig(**QUICK)).changed == 0
    Secret(value="by hand").save("keeneye-store-ingest", overwrite=True)
    assert provision(ProvisionConfig(**QUICK)).changed == 1


def test_lifecycle_rules_of_others_stay(home):
    store = transfer_client()
    store.create_bucket(Bucket="shared")
    theirs = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 30}}
    store.put_bucket_lifecycle_configuration(Bucket="shared", LifecycleConfiguration={"Rules": [theirs]})
    for days in (7, 2):
        rule = unfinished_uploads_rule(days)
        assert not has_rule(store, "shared", rule)
        put_rule(store, "shared", rule)
        assert has_rule(store, "shared", rule)
        assert store.get_bucket_lifecycle_configuration(Bucket="shared")["Rules"] == [theirs, rule]


@pytest.mark.site
def test_deployments_of_the_file_are_put_there_once(home, prefect):
    config = ProvisionConfig(bucket="")
    with temporary_settings({PREFECT_API_URL: prefect}):
        os.environ["PREFECT_API_URL"] = prefect
        try:
            assert outcomes(provision(config))["deployments", ", ".join(deployment_names())] == "made"
            before = deployments(prefect)
            assert provision(config).changed == 0
        finally:
            del os.environ["PREFECT_API_URL"]
    assert deployments(prefect) == before
    assert {name for name, _, _ in before} == {name.partition("/")[2] for name in deployment_names()}


def deployments(prefect):
    found = call_prefect(prefect, "POST", "/deployments/filter", {})
    return sorted((one["name"], one["version"], one["updated"]) for one in found)


def test_server_that_takes_too_long_is_one_sentence(monkeypatch):
    monkeypatch.setattr("flows.deploying.MAX_SECONDS", 0.05)
    with pytest.raises(EnvironmentFailed, match=r"prefect deploy took more than 0\.05 s"):
        deploy_all()


def test_needs_a_server_that_stays(home):
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(RequestError, match="name it in PREFECT_API_URL"):
        provision(ProvisionConfig(bucket="", deploy=False))
    gone = f"http://127.0.0.1:{free_ports(1)[0]}/api"
    with temporary_settings({PREFECT_API_URL: gone}), pytest.raises(EnvironmentFailed, match="does not answer"):
        provision(ProvisionConfig(bucket="", deploy=False))


def test_command_line():
    _, config = parse(["provision", "--plan", "--models", "bolts,nuts", "--trainings", "2"])
    assert (config.plan, config.models, config.trainings) == (True, ("bolts", "nuts"), 2)
