"""The request of `keeneye up`: which services of a site run on this machine, and where. Imports no service."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from flows.group_config import Group
from flows.host_config import Host, is_loopback

ServiceName = Literal["postgresql", "object-store", "prefect", "mlflow", "worker", "endpoint"]
Port = Annotated[int, Field(ge=1024, le=65_535)]
HostName = Literal["postgresql", "object_store", "prefect", "mlflow"]
KnownHost = Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]*$")]


class PortsConfig(Group):
    """The port of each service."""

    postgresql: Port = Field(default=5432, description="PostgreSQL.", json_schema_extra={"position": 1})
    object_store: Port = Field(default=8333, description="S3 of the object store.", json_schema_extra={"position": 2})
    object_store_first: Port = Field(
        default=18_330,
        le=65_528,
        description="First of the eight ports in a row by which the object store's own parts speak to each other.",
        json_schema_extra={"position": 3},
    )
    prefect: Port = Field(default=4200, description="Prefect's API and UI.", json_schema_extra={"position": 4})
    mlflow: Port = Field(default=5000, description="MLflow's API and UI.", json_schema_extra={"position": 5})
    worker: Port = Field(default=8081, description="The worker's health.", json_schema_extra={"position": 6})
    endpoint: Port = Field(default=8080, description="The endpoint.", json_schema_extra={"position": 7})

    @model_validator(mode="after")
    def _differ(self) -> Self:
        row = range(self.object_store_first, self.object_store_first + 8)
        taken = [*row, *(getattr(self, name) for name in type(self).model_fields if name != "object_store_first")]
        twice = sorted({port for port in taken if taken.count(port) > 1})
        if twice:
            raise ValueError(f"port {twice[0]} is given to two services; give each its own in ports")
        return self


class HostsConfig(Group):
    """Where services find each other; empty is where those of this machine listen."""

    postgresql: KnownHost = Field(default="", description="PostgreSQL.", json_schema_extra={"position": 1})
    object_store: KnownHost = Field(default="", description="The object store.", json_schema_extra={"position": 2})
    prefect: KnownHost = Field(default="", description="Prefect's server.", json_schema_extra={"position": 3})
    mlflow: KnownHost = Field(
        default="",
        description="MLflow's server. It answers to this name and to those of loopback alone: give it when `listen` "
        "lets other machines in.",
        json_schema_extra={"position": 4},
    )


class UpConfig(Group):
    """Start the services of a site on this machine, and stop them together."""

    only: tuple[ServiceName, ...] = Field(
        default=(), description="Only these services, the others being elsewhere; empty starts all."
    )
    data: str = Field(
        default="", description="Folder of the services' data, logs and secrets; empty takes `site` in Keeneye's home."
    )
    listen: Host = Field(
        default="127.0.0.1",
        description="Address that the services listen on; 0.0.0.0 lets other machines in, to MLflow by the name in "
        "hosts.mlflow.",
    )
    ports: PortsConfig = Field(default=PortsConfig(), description="The port of each service.")
    hosts: HostsConfig = Field(default=HostsConfig(), description="Where services find each other.")
    bucket: str = Field(
        default="keeneye",
        pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$",
        description="Bucket of the object store that is made, and holds MLflow's artifacts.",
    )
    runs: int = Field(default=1, ge=1, le=64, description="Flow runs at once of this machine's worker.")
    postgresql_user: str = Field(
        default="",
        pattern=r"^([a-z_][a-z0-9_-]{0,31})?$",
        description="System user that PostgreSQL runs as when root starts it, for it refuses root; empty takes "
        "postgres, or else nobody.",
    )
    start_seconds: int = Field(
        default=180, ge=5, le=3600, description="A service that does not answer for so long after its start has failed."
    )

    @property
    def reachable(self) -> str:
        """Where this machine reaches what listens, as it stands in an address."""
        return "127.0.0.1" if self._listens_everywhere else _bracketed(self.listen)

    @property
    def _listens_everywhere(self) -> bool:
        return self.listen in {"0.0.0.0", "::"}  # noqa: S104 - asked for, not listened on

    def host(self, name: HostName) -> str:
        """Return where a service is found, as it stands in an address."""
        named: str = getattr(self.hosts, name)
        return _bracketed(named) if named else self.reachable

    @model_validator(mode="after")
    def _finds_what_it_starts(self) -> Self:
        for name in get_args(HostName):
            there: str = getattr(self.hosts, name)
            starts = not self.only or name.replace("_", "-") in self.only
            if starts and is_loopback(there) and not (is_loopback(self.listen) or self._listens_everywhere):
                raise ValueError(
                    f"hosts.{name} is {there}, where nothing listens with listen {self.listen}; leave hosts.{name} out"
                )
        return self

    @model_validator(mode="after")
    def _names_no_service_twice(self) -> Self:
        if len(set(self.only)) < len(self.only):
            raise ValueError("only names a service twice; once is enough")
        return self


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
