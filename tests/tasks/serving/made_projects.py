"""Names of the made registry's projects and versions, and a service that loads nothing."""

import asyncio
import time

from tasks.serving.arns import ProjectArn, VersionArn
from tasks.serving.projects import DEFAULT_OWNER
from tasks.serving.states import Status
from tasks.tracking.registry import VersionInfo


class Shelf:
    """A service that loads nothing: `outcome` is what each load comes to, once `loading` is set."""

    def __init__(self):
        self.outcome = None
        self.loading = asyncio.Event()
        self.loading.set()
        self.warmed, self.told = [], []

    async def version(self, model, qualifier):
        return VersionInfo(model, qualifier, "", {}, ())

    async def warm(self, model, qualifier):
        self.warmed.append((model, qualifier))
        await self.loading.wait()
        if self.outcome:
            raise self.outcome
        return await self.version(model, qualifier)

    def state_changed(self, model, qualifier):
        self.told.append((model, qualifier))


def project_arn(made, name="bolts"):
    model = next(one for one in made.registry.models() if one.name == name)
    return ProjectArn(DEFAULT_OWNER, name, str(model.created_ms))


def version_arn(info, qualifier=""):
    return VersionArn(DEFAULT_OWNER, info.name, qualifier or info.version, str(info.created_ms))


async def settled(states, model, qualifier, deadline=10):
    """Wait until a version's state is under way no more."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        state = states.get(model, qualifier)
        if state.status not in (Status.STARTING, Status.STOPPING):
            return state
        await asyncio.sleep(0.01)
    raise TimeoutError(state)
