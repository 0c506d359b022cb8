"""The base of every group of a request's fields."""

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """Base of all groups: frozen, and strict about names so that a slip of the pen is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
