"""Why an image got no answer.

KeeneyeError
  ServingError
    UnknownModel       the registry has no model of this name
    UnknownVersion     the model has no such version or alias
    NotRunning         the version is there, but not started
    StateConflict      it is in a state that does not allow what was asked
    Overloaded         all places are taken; the same request may succeed in a moment
    ImageRefused       the bytes are no usable image, or too many
    ModelUnavailable   the registry does not answer, or the bundle cannot be loaded or run
    ServiceStopping    the service ends and takes nothing new
"""

from tasks.errors import KeeneyeError


class ServingError(KeeneyeError):
    """Base of all that keeps a request from its answer."""


class UnknownModel(ServingError):
    """The registry has no model of this name."""


class UnknownVersion(ServingError):
    """The model is there, but it has no such version or alias."""


class NotRunning(ServingError):
    """The version is there, but it has not been started, or was stopped."""


class StateConflict(ServingError):
    """The version's state does not allow what was asked."""


class Overloaded(ServingError):
    """As many requests as may wait are waiting."""


class ImageRefused(ServingError):
    """The bytes are no usable image; `code` is that of `tasks.vision.images.ImageError`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ModelUnavailable(ServingError):
    """The model should answer but cannot: no registry to ask, or a bundle that cannot be loaded or run."""


class ServiceStopping(ServingError):
    """The service is being stopped; another one may answer."""
