"""The environments' names, alone in a module: configs, which are read before anything heavy is imported, need them."""

from typing import Literal, get_args

EnvironmentName = Literal["staging", "production"]
ENVIRONMENTS: tuple[EnvironmentName, ...] = get_args(EnvironmentName)
"""In the order in which a version goes through them."""
