"""The request models of `keeneye watch` and `keeneye notify`."""

from pydantic import Field

from flows.group_config import Group


class WatchConfig(Group):
    """Start a deployment when images arrive in a folder."""

    folder: str = Field(min_length=1, description="Folder to watch, however deep; seen by the worker at the same path.")
    deployment: str = Field(
        default="predict/predictions",
        pattern=r"^[^/\s][^/]*/[^/]*[^/\s]$",
        max_length=400,
        description="FLOW/NAME of the deployment that starts; prefect.yaml holds them, with what they take from the "
        "event.",
    )
    poll_seconds: float = Field(
        default=2.0,
        ge=0.05,
        le=3600.0,
        description="Rest between two looks at the folder; longer where a look takes long (seconds). Polling also sees "
        "what other machines write to a network share.",
    )
    quiet_seconds: float = Field(
        default=5.0,
        ge=0.0,
        le=3600.0,
        description="A file is whole when its size and date stayed the same for so long (seconds).",
    )
    max_wait_seconds: float = Field(
        default=60.0,
        ge=0.0,
        le=86_400.0,
        description="Whole files wait for those still coming, and then start together; no longer than this (seconds).",
    )
    min_images: int = Field(
        default=1, ge=1, le=1_000_000, description="Wait until so many new images are whole, such as 20 for training."
    )


class NotifyConfig(Group):
    """Tell a webhook when a deployed run fails, crashes or is rejected."""

    remove: bool = Field(default=False, description="Tell nobody any more, and forget the webhook's address.")
