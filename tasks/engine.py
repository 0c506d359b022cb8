"""The stages' way to Prefect: task settings, logging, progress and artifacts, said once.

Besides flows and the shells this is the only module that imports Prefect.
"""

import functools
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from prefect import Task, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.logging import get_logger, get_run_logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.errors import KeeneyeError
from tasks.stores.content import StageRecord
from tasks.stores.disk import full_disk
from tasks.stores.home import Home

P = ParamSpec("P")
R = TypeVar("R", bound=StageRecord)
Report = Callable[[int, int], None]
"""Called with the number of items done and their total, as work goes on."""

LOG_EVERY_SECONDS = 10.0
ARTIFACT_EVERY_SECONDS = 2.0


class _OneSentence(logging.Filter):
    """Errors raised on purpose are told in their own sentence, without a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, KeeneyeError):
            record.msg, record.args, record.exc_info = error.message, (), None
        return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_OneSentence())


def stage(name: str, run_name: str | None = None, *, limit: str = "") -> Callable[[Callable[P, R]], Task[P, R]]:
    """Decorate a stage's shell: a Prefect task whose record tells how long it took.

    Prefect's own caching is off, for the content store resumes.

    Args:
        name: of the task.
        run_name: of each run, with the shell's parameters in braces; None leaves it to Prefect.
        limit: tag of which the server may let only so many tasks run at once.
    """

    def decorate(shell: Callable[P, R]) -> Task[P, R]:
        @functools.wraps(shell)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            start = time.perf_counter()
            try:
                record = shell(*args, **kwargs)
            except Exception as error:
                full = full_disk(error, Home.from_environment().root)
                if full is None:
                    raise
                raise full from error
            return record.model_copy(update={"seconds": round(time.perf_counter() - start, 3)})

        tags = {limit} - {""}
        return task(name=name, task_run_name=run_name, tags=tags, cache_policy=NO_CACHE, persist_result=False)(timed)

    return decorate


def logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """Return the run's logger, or a plain one outside a run (in tests of a shell's function)."""
    return get_run_logger() if TaskRunContext.get() else get_logger("keeneye")


def publish_markdown(key: str, text: str) -> None:
    """Show Markdown beside the task's run in the Prefect UI; `key` may hold any characters."""
    if TaskRunContext.get():
        create_markdown_artifact(markdown=text, key=_artifact_key(key))


def publish_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Show a table beside the task's run in the Prefect UI."""
    if TaskRunContext.get():
        create_table_artifact(table=rows, key=_artifact_key(key), description=description)


@contextmanager
def progress(description: str, unit: str) -> Iterator[Report]:
    """Show how far a long step is: a bar on a terminal, else a log line now and then; and in the Prefect UI."""
    listeners: list[Report] = [_ArtifactProgress(description)] if TaskRunContext.get() else []
    if not sys.stderr.isatty():
        listeners.append(_LogProgress(description, unit))
        yield _each(listeners)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar_task = bar.add_task(description, total=None)
        listeners.append(lambda done, total: bar.update(bar_task, completed=done, total=total))
        yield _each(listeners)


class _LogProgress:
    """A log line every few seconds and at the end, with the rate and the time left."""

    def __init__(self, description: str, unit: str) -> None:
        self._description, self._unit = description, unit
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._last < LOG_EVERY_SECONDS:
            return
        self._last = now
        rate = done / max(now - self._start, 1e-6)
        left = (total - done) / max(rate, 1e-6)
        logger().info(
            "%s: %d of %d %s, %.0f a second, %.0f s left", self._description, done, total, self._unit, rate, left
        )


class _ArtifactProgress:
    """A Prefect progress artifact; it appears only when the step takes longer than a moment."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._artifact: UUID | None = None
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        is_last = done >= total and self._artifact is not None
        if now - self._last < ARTIFACT_EVERY_SECONDS and not is_last:
            return
        self._last = now
        percent = 100.0 * done / max(total, 1)
        if self._artifact is None:
            created = create_progress_artifact(
                progress=percent, key=_artifact_key(self._description), description=self._description
            )
            self._artifact = created if isinstance(created, UUID) else None
        else:
            update_progress_artifact(artifact_id=self._artifact, progress=percent)


def _each(listeners: list[Report]) -> Report:
    def report(done: int, total: int) -> None:
        for listener in listeners:
            listener(done, total)

    return report


def _artifact_key(text: str) -> str:
    # Prefect takes lower-case letters, digits and dashes only.
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def flow_run_id() -> str:
    """Return the id of the Prefect flow run this code runs in; empty outside a run."""
    context = TaskRunContext.get()
    return str(context.task_run.flow_run_id or "") if context else ""
