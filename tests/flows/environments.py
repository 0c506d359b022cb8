"""Environments of a test's own, whose endpoints are nowhere unless it starts one; and moves without their tests."""

import yaml

from tasks.tracking.environments import Environments, Move
from tasks.tracking.ledger import Ledger
from tasks.tracking.registry import Registry
from tests.conftest import free_port


def write_environments(folder, staging=None, **production):
    """Write both environments, with fields of their own; a policy's are put into the one that is there."""
    places = folder / "environments"
    places.mkdir(exist_ok=True)
    loose = {"after": "", "approval": "automatic", "comparison": "lenient"}
    for name, policy, fields in (("staging", loose, staging or {}), ("production", {}, production)):
        values = {"name": name, "address": f"http://127.0.0.1:{free_port()}", **fields}
        values["policy"] = {"min_difference": -0.5, "max_latency_ms": 10_000, **policy, **fields.get("policy", {})}
        (places / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return places


def move_untested(home, model, version, environment):
    """Move a version as a promotion does, without its tests."""
    environments = Environments(Registry(home), Ledger(home.database_uri))
    begun = environments.begin(
        Move(model=model, environment=environment, to_version=version, action="promote", who="Ann", why="")
    )
    environments.expose(begun)
    environments.confirm(begun, {})
