"""Hosts in requests: which of them only this machine reaches."""

import ipaddress
from typing import Annotated

from pydantic import Field

Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]+$")]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; of names `localhost` alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
