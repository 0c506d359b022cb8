"""The request of `keeneye serve`. Imports nothing of Keeneye but the other requests' base, so that `--help` is fast."""

import ipaddress
from typing import Self

from pydantic import Field, model_validator

from flows.config import Group

FORM_MEGABYTES = 0.1
"""Room for a form's own lines around an image."""


class ServeConfig(Group):
    """Where the endpoint listens, who may use it, and what it may cost."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every one.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
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
    max_pending: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Requests that may wait or run at once; those beyond are told to come back.",
    )
    max_image_megabytes: float = Field(
        default=15.0, gt=0.0, le=100.0, description="Larger image files are refused unread (megabytes)."
    )
    max_body_megabytes: float = Field(
        default=256.0,
        ge=9.0,  # the largest body of a call of Rekognition's protocol is 8.4
        description="Memory for all request bodies together; what finds no room is told to come back (megabytes).",
    )
    max_models: int = Field(default=4, ge=1, le=1000, description="Models kept in memory; the least used one goes.")
    idle_minutes: float = Field(
        default=15.0,
        gt=0.0,
        description="A model unused for so long leaves the memory, and returns on demand (minutes).",
    )
    threads: int = Field(
        default=0, ge=0, le=256, description="Threads of a network's run, and runs at once; 0: one per core."
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _require_room_for_one_image(self) -> Self:
        if self.max_body_megabytes < self.max_image_megabytes + FORM_MEGABYTES:
            raise ValueError(
                f"max_body_megabytes {self.max_body_megabytes:g} holds no image of max_image_megabytes "
                f"{self.max_image_megabytes:g} in its form; give at least {self.max_image_megabytes + FORM_MEGABYTES:g}"
            )
        return self

    @model_validator(mode="after")
    def _require_keys_beyond_this_machine(self) -> Self:
        if self.no_auth and self.keys:
            raise ValueError("no_auth and keys contradict each other; give one of them")
        if self.no_auth and not self.is_loopback:
            raise ValueError(
                f"no_auth answers everybody who reaches {self.host}; listen on 127.0.0.1, or give keys instead"
            )
        return self
