"""Everything Keeneye raises on purpose, in one tree.

    KeeneyeError                 exit code
      RequestError               2   the request was wrong: unknown field, missing source
      DataError                  1   the data said no: no images, one class, too many bad files
        SourceChanged            1   a file changed between two stages of one run
      BundleError                1   a model bundle is damaged, foreign or newer than this Keeneye
      RegistryError              1   the registry holds something that contradicts the run
      LedgerConflict             1   somebody else's move was first; in tasks/tracking/ledger.py
      TrainingError              1   learning or exporting went wrong
      ServingError               1   an image got no answer; the tree below it is in tasks/serving/errors.py
      EnvironmentFailed          3   a store or server did not answer; a retry may help

A message says what was found, where, and what to do next. A gate that fails is a result, not an error; a bad
image or line is a finding (`tasks.dataset.findings`), not an error.
"""

from collections.abc import Iterator
from typing import ClassVar

MAX_SENTENCE_CHARACTERS = 500
SERVER_LIBRARIES = ("httpx", "httpcore", "prefect", "requests", "sqlalchemy", "websockets")


class KeeneyeError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, findings_path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.findings_path = findings_path


class RequestError(KeeneyeError):
    """The request itself was wrong; nothing was started."""

    exit_code = 2


class DataError(KeeneyeError):
    """The data cannot give a model as it is."""


class SourceChanged(DataError):
    """A source file no longer holds the bytes that were checked at ingest."""


class BundleError(KeeneyeError):
    """A model bundle cannot be trusted or understood."""


class RegistryError(KeeneyeError):
    """The registry's contents contradict what this run expects."""


class TrainingError(KeeneyeError):
    """A model could not be fitted, or its export differs from what was fitted."""


class EnvironmentFailed(KeeneyeError):
    """Something outside Keeneye failed; the same request may succeed later."""

    exit_code = 3


def in_one_sentence(error: BaseException) -> str:
    """Return what an error says: its own sentence, or of one that nobody foresaw its name and what it holds."""
    if isinstance(error, KeeneyeError):
        return error.message
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:MAX_SENTENCE_CHARACTERS]


def last_line(said: str) -> str:
    """Return the last line of what a program wrote, where it says why it ended; of one that wrote nothing, that."""
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")


def is_of_environment(error: BaseException) -> bool:
    """Whether a disk, a store or a server failed, so that the same request may succeed later."""
    return isinstance(error, EnvironmentFailed | OSError) or is_of_server(error)


def is_of_server(error: BaseException) -> bool:
    """Whether a library that speaks with servers raised an error, or one that it came from."""
    return any(type(cause).__module__.partition(".")[0] in SERVER_LIBRARIES for cause in chain(error))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an exception and those that it came of, also where they are not to be shown."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
