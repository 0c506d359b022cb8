"""The request of `keeneye serve`. Imports nothing of Keeneye but other requests, so that `--help` is fast."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from flows.environment_config import ServeLimits, environment_config
from flows.host_config import is_loopback
from tasks.tracking.environment_names import ENVIRONMENTS, EnvironmentName


class ServeConfig(ServeLimits):
    """Where the endpoint listens, who may use it, and what it may cost."""

    environment: Literal["", EnvironmentName] = Field(
        default="",
        description="Answer only for what stands in `staging` or `production`, with the address and limits of its "
        "file where none are given; empty answers for every alias and every version that runs.",
    )
    keys: str = Field(
        default="",
        description="YAML or JSON file with the clients' keys and the models each may use; empty takes the file "
        "named by KEENEYE_KEYS_FILE, or the one key of KEENEYE_ACCESS_KEY_ID and KEENEYE_SECRET_ACCESS_KEY.",
    )
    no_auth: bool = Field(
        default=False, description="Answer everybody, without keys; only on a loopback address, for trying out."
    )
    database: str = Field(
        default="",
        description="Where the versions' states are kept: sqlite:///FILE or postgresql+psycopg://...; empty takes "
        "KEENEYE_DATABASE, or a SQLite file in Keeneye's home.",
    )
    region: str = Field(
        default="us-east-1", pattern=r"^[a-z0-9-]{1,64}$", description="Region that clients sign for, and of all ARNs."
    )
    account: str = Field(default="000000000000", pattern=r"^[0-9]{12}$", description="Account number of all ARNs.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return is_loopback(self.host)

    @model_validator(mode="before")
    @classmethod
    def _take_from_the_environment(cls, given: Any) -> Any:  # noqa: ANN401 - whatever is to be validated
        if not isinstance(given, dict) or given.get("environment") not in ENVIRONMENTS:
            return given
        return environment_config(given["environment"]).serve.model_dump() | given

    @model_validator(mode="after")
    def _require_keys_beyond_this_machine(self) -> Self:
        if self.no_auth and self.keys:
            raise ValueError("no_auth and keys contradict each other; give one of them")
        if self.no_auth and not self.is_loopback:
            raise ValueError(
                f"no_auth answers everybody who reaches {self.host}; listen on 127.0.0.1, or give keys instead"
            )
        return self
