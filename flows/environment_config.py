"""An environment, as its YAML file tells it: where it is served, and what a version must show to stand there.

Holds no credentials: those of its endpoint come from `KEENEYE_ENDPOINT_KEY` and `KEENEYE_ENDPOINT_SECRET`.
"""

import os
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from flows.group_config import Group
from tasks.errors import RequestError
from tasks.tracking.environment_names import EnvironmentName

FOLDER_VARIABLE = "KEENEYE_ENVIRONMENTS"
SHIPPED = Path(__file__).resolve().parents[1] / "deployments"
FORM_MEGABYTES = 0.1
"""Room for a form's own lines around an image."""
MAX_FILE_BYTES = 100_000


class ServeLimits(Group):
    """Where an endpoint listens and what it may cost: what an environment's file may set of `keeneye serve`."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 is every one.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
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

    @model_validator(mode="after")
    def _require_room_for_one_image(self) -> Self:
        if self.max_body_megabytes < self.max_image_megabytes + FORM_MEGABYTES:
            raise ValueError(
                f"max_body_megabytes {self.max_body_megabytes:g} holds no image of max_image_megabytes "
                f"{self.max_image_megabytes:g} in its form; give at least {self.max_image_megabytes + FORM_MEGABYTES:g}"
            )
        return self


class PolicyConfig(Group):
    """What a version must show before it stands in an environment, and who says yes."""

    approval: Literal["automatic", "person"] = Field(
        default="person", description="Whether a person must approve a move; production is never automatic."
    )
    approval_minutes: float = Field(
        default=60.0, gt=0.0, le=10_080.0, description="A move that nobody approves for so long is given up (minutes)."
    )
    after: Literal["", "staging"] = Field(
        default="staging", description="The environment that a version must stand in already; empty asks for none."
    )
    comparison: Literal["strict", "lenient"] = Field(
        default="strict",
        description="Which challenger is refused. `strict`: one that may be worse than the champion by more than "
        "`min_difference`, for the lower end of the interval lies below it; changed labels need a person. `lenient`: "
        "only one that surely is, for the whole interval lies below; what else there is to say is told.",
    )
    min_difference: float = Field(
        default=-0.02,
        ge=-1.0,
        le=1.0,
        description="Least difference of the challenger's figure from the champion's (-1 to 1); a little below zero, "
        "for two equal models never measure equal.",
    )
    resamples: int = Field(
        default=1000,
        ge=100,
        le=100_000,
        description="How often the images of the comparison are drawn anew for the interval of that difference.",
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1.0, description="Confidence of that interval (0.5 up to below 1)."
    )
    max_confidence_drift: float = Field(
        default=0.001,
        ge=0.0,
        le=1.0,
        description="Largest difference between two confidences of the same bundle: now and at its evaluation, through "
        "the endpoint and here.",
    )
    max_latency_ms: float = Field(
        default=1000.0,
        gt=0.0,
        description="Longest time of an answer, 95th percentile (milliseconds): of the bundle by itself, one image at "
        "a time, and through the endpoint, 8 at once.",
    )


def _own_address(validated: dict[str, Any]) -> str:
    serve: ServeLimits = validated.get("serve", ServeLimits())
    return f"http://127.0.0.1:{serve.port}"


class EnvironmentConfig(Group):
    """One environment. The defaults are production's, the strictest."""

    name: EnvironmentName = Field(default="production", description="Its name, and that of its alias.")
    serve: ServeLimits = Field(
        default=ServeLimits(port=8800),
        description="What `keeneye serve --environment` takes for what is not given.",
    )
    address: str = Field(
        default_factory=_own_address,
        pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$",
        description="Where clients reach its endpoint, such as https://vision.example; left out, this machine and the "
        "port of `serve`.",
    )
    endpoint: Literal["always", "if_running"] = Field(
        default="if_running",
        description="Whether a move needs its endpoint to answer, or tests through it only when it runs.",
    )
    policy: PolicyConfig = Field(default=PolicyConfig(), description="What a version must show, and who says yes.")

    @model_validator(mode="after")
    def _keep_production_to_people(self) -> Self:
        if self.name == "production" and self.policy.approval == "automatic":
            raise ValueError(
                "production is never approved automatically: write `approval: person`, and let staging be automatic"
            )
        return self

    @model_validator(mode="after")
    def _come_after_another(self) -> Self:
        if self.name == self.policy.after:
            raise ValueError(f'{self.name} cannot come after itself: write `after: ""` below `policy`')
        return self


def environment_config(name: str) -> EnvironmentConfig:
    """Read an environment: NAME.yaml of the folder that `KEENEYE_ENVIRONMENTS` names, else the one shipped.

    Raises:
        RequestError: when there is no such file, or it holds anything but such a config.
    """
    path = Path(os.environ.get(FOLDER_VARIABLE) or SHIPPED) / f"{name}.yaml"
    values = {"name": name} | _read(path)
    try:
        config = EnvironmentConfig.model_validate(values)
    except ValidationError as error:
        raise RequestError(f"{path}: {_first_problem(error)}") from None
    if config.name != name:
        raise RequestError(f"{path} is named {config.name!r} inside; write `name: {name}`, or rename the file")
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise RequestError(f"the environment's file {path} has more than {MAX_FILE_BYTES} bytes; name a YAML file")
        values = yaml.safe_load(content.decode()) or {}
    except OSError as error:
        raise RequestError(
            f"the environment's file {path} cannot be read: {error.strerror}; write it, or name another folder in "
            f"{FOLDER_VARIABLE}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the environment's file {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise RequestError(f"the environment's file {path} holds a {type(values).__name__}; give fields such as `name`")
    return values


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"there is no field {place}; {SHIPPED / 'production.yaml'} shows them all"
    if first["type"] == "value_error":  # a rule of ours, a sentence of its own
        return first["msg"].removeprefix("Value error, ")
    told = isinstance(first["input"], str | int | float) and "@" not in str(first["input"])  # an address's password
    given = f" = {first['input']!r}" if told else ""
    return f"{place}{given} is not accepted: {first['msg'][0].lower()}{first['msg'][1:]}"
