"""The commands of the containers, as processes of this machine."""

import signal
import socket
import subprocess
import sys
from functools import partial

import pytest
import yaml

from deployments.site.compose import CONFIG_FILE, CONFIG_IN_CONTAINERS
from flows.up_config import PortsConfig
from tests.deployments.site.running import KEENEYE, free_site, own_address, start, wait_until

pytestmark = pytest.mark.site


def test_commands_of_the_containers_make_a_site(folder):
    """Each in a process of its own, as each has a container, found by an address that is not loopback's."""
    containers = yaml.safe_load((CONFIG_FILE.parent / "compose.yaml").read_text())["services"]
    config = yaml.safe_load(CONFIG_FILE.read_text())
    ports = free_site()
    here = {**config, "data": str(folder / "volume"), "ports": ports}
    here["hosts"] = dict.fromkeys(config["hosts"], own_address())
    (folder / "site.yaml").write_text(yaml.safe_dump(here))
    running = {}
    try:
        for name, container in containers.items():
            program, *words = container["command"]
            assert program == "keeneye"
            there = [str(folder / "site.yaml") if word == CONFIG_IN_CONTAINERS else word for word in words]
            running[name] = start(folder, name, [KEENEYE, *there])
            told = (folder / f"{name}.err").read_text
            wait_until(partial(is_well, container, ports), running[name], told)
        assert [port for port in parts_of_the_store(ports) if is_open(own_address(), port)] == []
    finally:
        codes = {}
        for name, process in reversed(running.items()):
            process.send_signal(signal.SIGTERM)
            codes[name] = process.wait(120)
    assert codes == dict.fromkeys(containers, 0)


def is_well(container, ports):
    """Whether a container's own check says so, with this machine's address for its name."""
    _, python, *arguments = container["healthcheck"]["test"]
    assert python == "python"
    scheme, _, rest = arguments[-1].partition("://")
    default, path = rest.rpartition(":")[2].split("/", 1)
    name = next(name for name, field in PortsConfig.model_fields.items() if field.default == int(default))
    user = "keeneye@" if scheme == "postgresql" else ""
    address = f"{scheme}://{user}{own_address()}:{ports[name]}/{path}"
    return not subprocess.run([sys.executable, *arguments[:-1], address], cwd=CONFIG_FILE.parents[1]).returncode


def parts_of_the_store(ports):
    """Ports of the store's master, volumes and files, which ask nobody for a key."""
    return range(ports["object_store_first"], ports["object_store_first"] + 6)


def is_open(address, port):
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((address, port)) == 0
