"""What the registry holds, told for people: models with their versions, aliases, states and figures."""

import random
from collections.abc import Callable
from threading import Lock
from typing import Any

from tasks.serving.arns import is_number
from tasks.serving.errors import UnknownModel
from tasks.serving.states import Status, VersionState, VersionStates
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, STATUS_TAG, RegisteredModel, Registry, VersionInfo

MAX_KNOWN_RUNS = 2000
NOT_STARTED = "NOT_STARTED"
_TASK_OF_FIGURE = {
    "test.map_50": "detection",
    "test.accuracy": "classification",
    "test.exact_match": "classification",  # of any number of labels
    "test.image_auroc": "anomaly",
}
"""Figures that only one task's models have, by which the listing tells the task without opening a bundle."""

Document = dict[str, Any]


class Catalogue:
    """The models of a registry as JSON documents. Blocks on MLflow: call it from a thread."""

    def __init__(self, registry: Registry, states: VersionStates) -> None:
        self._registry, self._states = registry, states
        self._metrics: dict[str, dict[str, float]] = {}
        self._lock = Lock()

    def models(self, is_visible: Callable[[str], bool]) -> list[Document]:
        """Tell all models that may be seen, by name.

        Raises:
            EnvironmentFailed: when the registry or the states' database does not answer.
        """
        return [self._model(model) for model in self._registry.models() if is_visible(model.name)]

    def model(self, name: str) -> Document:
        """Tell one model.

        Raises:
            UnknownModel: when there is none of this name.
            EnvironmentFailed: when the registry or the states' database does not answer.
        """
        for model in self._registry.models():
            if model.name == name:
                return self._model(model)
        raise UnknownModel(f"there is no model {name[:100]!r}; GET /v1/models lists all")

    def metrics(self, info: VersionInfo) -> dict[str, float]:
        """Return the test figures of a version's run, which was done before it was registered: asked for once.

        Raises:
            EnvironmentFailed: when the registry does not answer.
        """
        with self._lock:
            known = self._metrics.get(info.run_id)
        if known is not None:
            return known
        figures = self._registry.metrics(info)
        known = {name: value for name, value in figures.items() if name.startswith("test.")}
        with self._lock:
            if len(self._metrics) >= MAX_KNOWN_RUNS:
                # Any of them: a listing goes through all, and the least recently used is what it asks for next.
                del self._metrics[random.choice(tuple(self._metrics))]  # noqa: S311 - no secret
            self._metrics[info.run_id] = known
        return known

    def _model(self, model: RegisteredModel) -> Document:
        states = self._states.all(model.name)
        infos = [info for info in self._registry.versions(model.name) if BUNDLE_DIGEST_TAG in info.tags]
        versions = [self._version(info, states) for info in infos]
        return {
            "name": model.name,
            "task": next((version["task"] for version in versions if version["task"]), None),
            "created_ms": model.created_ms,
            "aliases": [
                {"alias": alias, "version": version, "state": _state(alias, states, model.created_ms)}
                for alias, version in sorted(model.aliases.items())
            ],
            "versions": versions,
        }

    def _version(self, info: VersionInfo, states: dict[str, VersionState]) -> Document:
        metrics = self.metrics(info)
        return {
            "version": info.version,
            "task": next((task for figure, task in _TASK_OF_FIGURE.items() if figure in metrics), None),
            "status": info.tags.get(STATUS_TAG, ""),
            "state": _state(info.version, states, info.created_ms),
            "aliases": list(info.aliases),
            "created_ms": info.created_ms,
            "bundle_digest": info.tags[BUNDLE_DIGEST_TAG],
            "metrics": metrics,
        }


def _state(qualifier: str, states: dict[str, VersionState], made_ms: int) -> str:
    found = states.get(qualifier)
    if found and found.changed_ms >= made_ms:  # else it is of a model of this name that was deleted
        return found.status
    return NOT_STARTED if is_number(qualifier) else Status.RUNNING
