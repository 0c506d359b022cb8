"""The services as containers: `python -m deployments.site.compose > deployments/compose.yaml`, from the same table.

Each container runs `keeneye up` for one service, from one image, with the configuration in `site.yaml`.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from deployments.site.secrets import made_secrets
from deployments.site.services import Service, services_of
from flows.up_config import UpConfig

CONFIG_FILE = Path(__file__).resolve().parents[1] / "site.yaml"
CONFIG_IN_CONTAINERS = "/etc/keeneye/site.yaml"
PUBLISHED = frozenset({"object-store", "prefect", "mlflow", "endpoint"})
"""What this machine reaches; other machines reach nothing."""
_HEADER = (
    "# Written by `python -m deployments.site.compose`, and held to it by a test. From this folder: docker compose up\n"
)


def container_config() -> UpConfig:
    """Return the configuration of the containers: `deployments/site.yaml`."""
    return UpConfig.model_validate(yaml.safe_load(CONFIG_FILE.read_text(encoding="utf-8")))


def compose() -> str:
    """Return the text of `compose.yaml`; it holds no secret: those are made in the volume at the first start."""
    config = container_config()
    services = services_of(config, Path(config.data), made_secrets())
    content = {
        "name": "keeneye",
        "services": {service.name: _container(service) for service in services},
        "volumes": {"site": {}},
    }
    return _HEADER + yaml.safe_dump(content, sort_keys=False, width=120)


def _container(service: Service) -> dict[str, Any]:
    container: dict[str, Any] = {
        "image": "keeneye",
        # A worker takes up the runs of the container before it, by this name.
        "hostname": f"keeneye-{service.name}",
        "build": {"context": "..", "dockerfile": "deployments/Dockerfile"},
        "command": ["keeneye", "up", "--config", CONFIG_IN_CONTAINERS, "--only", service.name],
        "volumes": ["site:/data"],
        "healthcheck": {
            "test": ["CMD", "python", "-m", "deployments.site.health", service.health],
            "interval": "10s",
            "start_period": "180s",
        },
        "restart": "unless-stopped",
        "stop_grace_period": "40s",
    }
    if service.depends_on:
        container["depends_on"] = {name: {"condition": "service_healthy"} for name in service.depends_on}
    if service.name in PUBLISHED:
        container["ports"] = [f"127.0.0.1:{service.port}:{service.port}"]
    return container


if __name__ == "__main__":
    sys.stdout.write(compose())
