"""`keeneye up` as the process that it is, on ports of its own."""

import os
import shlex
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployments.site.secrets import FILE_NAME
from flows.up_config import PortsConfig
from tests.object_store import free_ports

PATIENCE_SECONDS = 400
KEENEYE = str(Path(sys.executable).with_name("keeneye"))


@dataclass(frozen=True)
class Site:
    """A running site."""

    process: subprocess.Popen
    data: Path
    ports: dict

    @property
    def environment(self):
        lines = (self.data / "environment").read_text().splitlines()
        values = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in lines)
        return {**os.environ, **values, "KEENEYE_HOME": str(self.data / "home")}

    @property
    def secrets(self):
        lines = (self.data / FILE_NAME).read_text().splitlines()
        return {name: value for name, value in (line.split("=", 1) for line in lines) if value != "keeneye"}

    def address(self, name, path=""):
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    @property
    def processes(self):
        return [one for one in psutil.Process(self.process.pid).children(recursive=True) if one.is_running()]


def free_site():
    """Ports of which none is taken, those of the object store's parts in a row."""
    names = [name for name in PortsConfig.model_fields if name != "object_store_first"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    while True:
        (first,) = free_ports(1)
        if first < 65_000 and not set(range(first, first + 8)) & set(ports.values()):
            return {**ports, "object_store_first": first}


def options(ports):
    """The words of a command by which services get their ports."""
    return [word for name, port in ports.items() for word in (f"--ports.{name}", str(port))]


def start(folder, name, command):
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("w") as stdout, err.open("w") as stderr:
        environment = {**os.environ, "KEENEYE_HOME": str(folder / "home")}
        return subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment, start_new_session=True)


def wait_until(condition, process=None, told=lambda: ""):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process is None or process.poll() is None, told()
        assert time.monotonic() < deadline, told()
        time.sleep(0.3)


def own_address():
    """This machine's first address that is not loopback's; where it has none, one where nothing listens by default."""
    addresses = [one.address for kind in psutil.net_if_addrs().values() for one in kind if one.family == socket.AF_INET]
    return next((address for address in addresses if not address.startswith("127.")), "127.0.0.2")
