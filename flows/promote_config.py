"""The request models of `keeneye promote`, `rollback` and `status`."""

from typing import Annotated

from pydantic import ConfigDict, Field

from flows.group_config import Group
from tasks.tracking.environment_names import EnvironmentName

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
StepCount = Annotated[int, Field(ge=1, le=1000)]
MAX_SENTENCE_CHARACTERS = 1000


class PromoteConfig(Group):
    """Put a version that passed its tests into staging or production, tested there."""

    model: ModelName = Field(description="The registered model.", json_schema_extra={"position": 1})
    to: EnvironmentName = Field(
        default="staging", description="The environment to promote to.", json_schema_extra={"position": 2}
    )
    version: str = Field(
        default="",
        pattern=r"^[0-9]*$",
        description="Number of the version; empty takes the newest that passed its gate, for production the one in "
        "staging.",
        json_schema_extra={"position": 3},
    )
    approved_by: str = Field(
        default="",
        max_length=200,
        description="Who approves. Empty asks in the Prefect UI when a worker runs this; elsewhere it is refused where "
        "a person must approve.",
        json_schema_extra={"position": 4},
    )
    reason: str = Field(
        default="", max_length=MAX_SENTENCE_CHARACTERS, description="Why.", json_schema_extra={"position": 5}
    )


class RollbackConfig(Group):
    """Return an environment to a version that stood there before, tested again."""

    model: ModelName = Field(description="The registered model.", json_schema_extra={"position": 1})
    environment: EnvironmentName = Field(
        default="production", description="The environment to roll back.", json_schema_extra={"position": 2}
    )
    steps: StepCount = Field(default=1, description="How many versions to go back.", json_schema_extra={"position": 3})
    approved_by: str = Field(
        default="", max_length=200, description="Who rolls back.", json_schema_extra={"position": 4}
    )
    reason: str = Field(
        default="", max_length=MAX_SENTENCE_CHARACTERS, description="Why.", json_schema_extra={"position": 5}
    )


class StatusConfig(Group):
    """Tell what stands in staging and production, since when, by whom, and what stood there before."""

    model_config = ConfigDict(validate_by_name=True)

    model: str = Field(
        default="",
        max_length=128,
        description="The registered model; empty tells of all.",
        json_schema_extra={"position": 1},
    )
    as_json: bool = Field(
        default=False, alias="json", description="One JSON line instead of a table.", json_schema_extra={"position": 2}
    )
