"""`keeneye serve --environment production`: what stands there, by its alias and by nothing else, in every protocol."""

import pytest
from botocore.exceptions import ClientError
from mlflow.exceptions import MlflowException

from deployments.endpoint.environment import EnvironmentRegistry, EnvironmentStates
from tasks.errors import RegistryError
from tasks.serving.errors import UnknownModel, UnknownVersion
from tasks.serving.states import Status
from tests.deployments.endpoint.served import PICTURE, serving, write_keys
from tests.deployments.endpoint.test_app import rekognition


@pytest.fixture(scope="module")
def production(served_home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("production")
    options = ("--environment", "production", "--keys", str(write_keys(folder)))
    # Another endpoint is starting a numbered version: to be left to it.
    states = EnvironmentStates(f"sqlite:///{folder / 'states.db'}", "production")
    states.move("dents", "2", {None}, Status.STARTING)
    with serving(served_home, folder, *options, "--database", f"sqlite:///{folder / 'states.db'}") as running:
        yield running


@pytest.fixture(scope="module")
def client(production):
    with production.client() as client:
        yield client


@pytest.fixture(scope="module")
def boto(production):
    return rekognition(production)


@pytest.fixture(scope="module")
def project(boto):
    (project,) = boto.describe_projects()["ProjectDescriptions"]
    return project["ProjectArn"]


def test_start_tells_what_stands_there(production):
    assert "1 model: dents (production -> 1); listening" in production.log()


def test_its_alias_answers(client):
    answer = client.post("/v1/models/dents@production:predict", content=PICTURE)
    assert (answer.status_code, answer.json()["version"]) == (200, "1")


@pytest.mark.parametrize("address", ["dents@1", "dents@2", "dents@staging", "dents@99", "colours@staging", "nobody@1"])
def test_nothing_else_answers(client, address):
    answer = client.post(f"/v1/models/{address}:predict", content=PICTURE)
    assert answer.status_code == 404
    assert "stands in production" in answer.json()["detail"]
    assert "NAME@production" in answer.json()["detail"]


@pytest.mark.parametrize("model", ["colours", "nobody"])
def test_model_that_does_not_stand_there_is_told_so(client, model):
    answer = client.post(f"/v1/models/{model}@production:predict", content=PICTURE)
    assert answer.status_code == 404
    assert f"no version of '{model}' stands in production" in answer.json()["detail"]
    assert client.get(f"/v1/models/{model}").status_code == 404


def test_list_shows_what_stands_there(client):
    told = client.get("/v1/models").json()
    (dents,) = told["models"]
    assert (told["environment"], dents["name"]) == ("production", "dents")
    assert dents["aliases"] == [{"alias": "production", "version": "1", "state": "RUNNING"}]
    assert [(one["version"], one["aliases"]) for one in dents["versions"]] == [("1", ["production"])]
    assert client.get("/v1/models/dents").json() == dents
    assert client.get("/readyz").status_code == 200


def test_plain_endpoint_names_no_environment(open_endpoint):
    with open_endpoint.client(auth=None) as client:
        assert client.get("/v1/models").json()["environment"] == ""


@pytest.mark.parametrize(
    ("names", "found"),
    [
        pytest.param({}, ["production"], id="all"),
        pytest.param({"VersionNames": ["production"]}, ["production"], id="the alias"),
        pytest.param({"VersionNames": ["1", "production"]}, ["production"], id="among others"),
        pytest.param({"VersionNames": ["1"]}, [], id="its number"),
        pytest.param({"VersionNames": ["staging"]}, [], id="another alias"),
    ],
)
def test_project_has_its_alias_for_a_version(boto, project, names, found):
    told = boto.describe_project_versions(ProjectArn=project, **names)["ProjectVersionDescriptions"]
    assert [one["ProjectVersionArn"].split("/")[-2] for one in told] == found
    assert {one["Status"] for one in told} <= {"RUNNING"}


def test_described_version_answers(boto, project):
    (version,) = boto.describe_project_versions(ProjectArn=project)["ProjectVersionDescriptions"]
    told = boto.detect_custom_labels(ProjectVersionArn=version["ProjectVersionArn"], Image={"Bytes": PICTURE})
    assert [one["Name"] for one in told["CustomLabels"]] == ["dent"]


@pytest.mark.parametrize("operation", ["detect_custom_labels", "start_project_version", "stop_project_version"])
@pytest.mark.parametrize("qualifier", ["1", "2", "staging"])
def test_other_versions_are_not_found(boto, project, operation, qualifier):
    start, _, digits = project.rpartition("/")
    arn = f"{start}/version/{qualifier}/{digits}"
    more = {
        "detect_custom_labels": {"Image": {"Bytes": PICTURE}},
        "start_project_version": {"MinInferenceUnits": 1},
        "stop_project_version": {},
    }[operation]
    with pytest.raises(ClientError) as refused:
        getattr(boto, operation)(ProjectVersionArn=arn, **more)
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert "stands in production" in refused.value.response["Error"]["Message"]


def test_another_accounts_alias_is_not_found(boto, project):
    start, _, digits = project.replace("000000000000", "111111111111").rpartition("/")
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        boto.detect_custom_labels(ProjectVersionArn=f"{start}/version/production/{digits}", Image={"Bytes": PICTURE})


def test_stopped_alias_starts_again(boto, client, project):
    (version,) = boto.describe_project_versions(ProjectArn=project)["ProjectVersionDescriptions"]
    arn = version["ProjectVersionArn"]
    boto.stop_project_version(ProjectVersionArn=arn)
    assert client.post("/v1/models/dents@production:predict", content=PICTURE).status_code == 409
    for _ in range(100):
        (version,) = boto.describe_project_versions(ProjectArn=project)["ProjectVersionDescriptions"]
        if version["Status"] == "STOPPED":
            break
    boto.start_project_version(ProjectVersionArn=arn, MinInferenceUnits=1)
    boto.get_waiter("project_version_running").wait(
        ProjectArn=project, VersionNames=["production"], WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    assert client.post("/v1/models/dents@production:predict", content=PICTURE).status_code == 200


def test_states_of_others_are_left_alone(production):
    folder = production.log_path.parent
    everything = EnvironmentStates(f"sqlite:///{folder / 'states.db'}", "2")
    assert everything.all("dents")["2"].status is Status.STARTING


def test_states_are_those_of_the_alias(tmp_path):
    states = EnvironmentStates(f"sqlite:///{tmp_path / 'states.db'}", "production")
    for qualifier in ("production", "staging", "1"):
        states.move("bolts", qualifier, {None}, Status.STOPPING)
    assert list(states.all("bolts")) == ["production"]
    assert [one.qualifier for one in states.having({Status.STOPPING})] == ["production"]


def test_trouble_of_the_registry_is_not_taken_for_an_absence(served_home, monkeypatch):
    registry = EnvironmentRegistry(served_home, "production")
    assert registry.resolve("models:/dents@production").aliases == ("production",)

    def refuse(*_):
        raise MlflowException("no")

    monkeypatch.setattr(registry._client, "get_model_version_by_alias", refuse)
    with pytest.raises(RegistryError):
        registry.resolve("models:/dents@production")
    with pytest.raises(UnknownModel):
        registry.resolve("models:/colours@production")
    with pytest.raises(UnknownVersion):
        registry.resolve("models:/dents/1")
