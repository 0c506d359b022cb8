"""Error codes as clients of the service know them, and which of our errors each stands for.

Source: the service's model (botocore `rekognition/2016-06-27`) and the developer guide's page on error handling,
whose sentences the messages start with.
"""

from tasks.errors import KeeneyeError, RequestError
from tasks.serving.errors import (
    ImageRefused,
    NotRunning,
    Overloaded,
    ServiceStopping,
    StateConflict,
    UnknownModel,
    UnknownVersion,
)
from tasks.serving.paging import InvalidPageToken
from tasks.stores.s3 import ObjectTooLarge, ObjectUnreadable

ACCESS_DENIED = "AccessDeniedException"
IMAGE_TOO_LARGE = "ImageTooLargeException"
INTERNAL = "InternalServerError"
INVALID_FORMAT = "InvalidImageFormatException"
INVALID_PARAMETER = "InvalidParameterException"
INVALID_S3_OBJECT = "InvalidS3ObjectException"
INVALID_TOKEN = "InvalidPaginationTokenException"  # noqa: S105 - an error's name
IN_USE = "ResourceInUseException"
LIMIT_EXCEEDED = "LimitExceededException"
NOT_FOUND = "ResourceNotFoundException"
NOT_READY = "ResourceNotReadyException"
OVERLOADED = "ProvisionedThroughputExceededException"
SERIALIZATION = "SerializationException"
THROTTLING = "ThrottlingException"
UNKNOWN_OPERATION = "UnknownOperationException"
VALIDATION = "ValidationException"

BAD_IMAGE = "Request has invalid image format."
BAD_PARAMETERS = "Request has invalid parameters."
BAD_S3_OBJECT = "Unable to get object metadata from S3. Check object key, region and/or access permissions."
BAD_TOKEN = "Invalid Pagination Token"  # noqa: S105 - a sentence
TOO_LARGE = "Image size is too large."
TOO_MANY_REQUESTS = "Provisioned Rate exceeded."
SERVICE_ISSUE = "The service experienced an issue. Try your call again."

_SERVER_FAULTS = {INTERNAL, THROTTLING}
"""Sent with HTTP 500, so that clients try again; everything else is the caller's, with 400."""
_SIZE_CODES = {"ERROR_INVALID_IMAGE_DIMENSION", "ERROR_FILE_TOO_LARGE"}


class WireError(Exception):
    """An answer that is an error; `code` is one of the service's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def http_status(code: str) -> int:
    """Return the HTTP status that an error code travels with."""
    return 500 if code in _SERVER_FAULTS else 400


def wire_error(error: KeeneyeError) -> WireError:
    """Say one of our errors in the service's words; what is no fault of the caller's is told in the log only."""
    if isinstance(error, ImageRefused):
        return _refused_image(error)
    for kind, code, sentence in _BY_KIND:
        if isinstance(error, kind):
            return WireError(code, sentence or error.message)
    return WireError(INTERNAL, SERVICE_ISSUE)


def invalid_parameter(reason: str) -> WireError:
    """Say that a request breaks a rule that its shape cannot tell."""
    return WireError(INVALID_PARAMETER, f"{BAD_PARAMETERS} {reason}")


def _refused_image(error: ImageRefused) -> WireError:
    if error.code in _SIZE_CODES:
        return WireError(IMAGE_TOO_LARGE, f"{TOO_LARGE} {_sentence(error.message)}")
    return WireError(INVALID_FORMAT, f"{BAD_IMAGE} {_sentence(error.message)}")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


_BY_KIND: tuple[tuple[type[KeeneyeError], str, str], ...] = (
    (UnknownModel, NOT_FOUND, ""),
    (UnknownVersion, NOT_FOUND, ""),
    (NotRunning, NOT_READY, ""),
    (StateConflict, IN_USE, ""),
    (Overloaded, OVERLOADED, TOO_MANY_REQUESTS),
    (ServiceStopping, THROTTLING, ""),
    (ObjectTooLarge, IMAGE_TOO_LARGE, TOO_LARGE),
    (ObjectUnreadable, INVALID_S3_OBJECT, BAD_S3_OBJECT),
    (InvalidPageToken, INVALID_TOKEN, BAD_TOKEN),
    (RequestError, INVALID_PARAMETER, ""),
)
