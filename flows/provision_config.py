"""The request of `keeneye provision`: what a site is to have, and the tags by which it limits what runs at once."""

import platform
from typing import Annotated

from pydantic import Field

from flows.group_config import Group

WORK_POOL = "keeneye"
"""As in prefect.yaml."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


def training_limit() -> str:
    """Return the tag of trainings on this machine, whose memory and cores they share."""
    return f"keeneye-training-on-{platform.node()}"


def promotion_limit(model: str) -> str:
    """Return the tag of a model's moves between environments."""
    return f"keeneye-promotion-of-{model}"


class ProvisionConfig(Group):
    """Make a site ready for its flows, and say what was done; what is there already stays as it is."""

    plan: bool = Field(default=False, description="Only say what would be done.")
    bucket: str = Field(
        default="keeneye",
        pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$",
        description="Bucket of the object store; empty leaves the store alone.",
    )
    unfinished_days: int = Field(
        default=7, ge=1, le=365, description="Uploads that were begun and never finished go after so long (days)."
    )
    datasets: tuple[Name, ...] = Field(default=(), description="Datasets that get an experiment in MLflow.")
    models: tuple[Name, ...] = Field(
        default=(), description="Models that are registered without a version yet, each promoted once at a time."
    )
    trainings: int = Field(default=1, ge=1, le=64, description="Trainings at once on this machine.")
    deploy: bool = Field(default=True, description="Deploy what prefect.yaml holds.")
