"""The base of every group of a request's fields."""

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """Base of all groups: frozen, and strict about names so that a slip of the pen is an error.

    Numbers are finite: what is sent to other processes and kept is JSON, which holds no others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
