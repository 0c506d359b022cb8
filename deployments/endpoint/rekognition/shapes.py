"""Requests checked against the service's own model, as botocore carries it.

boto3 checks required members, types and minima before it sends; maxima, patterns, enumerations and everything of
clients that are not boto3 are checked here. All violations are told in one `ValidationException`, in the service's
sentences; what is no JSON object at all is a `SerializationException`.
"""

import base64
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StructureShape

from deployments.endpoint.rekognition.errors import SERIALIZATION, VALIDATION, WireError

API_VERSION = "2016-06-27"
MAX_SHOWN_CHARACTERS = 100
_INTEGER_BITS = {"integer": 32, "long": 64}


@cache
def service_model() -> ServiceModel:
    """Return the service's model; read once, from botocore's own files and nobody else's."""
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    return ServiceModel(loader.load_service_model("rekognition", "service-2", API_VERSION), "rekognition")


def read_input(operation: str, body: bytes | bytearray) -> dict[str, Any]:
    """Read the input of an operation: known members only, blobs decoded, null taken for absent.

    Args:
        operation: one of the service's, such as `DetectCustomLabels`.
        body: JSON; empty is an object without members.

    Raises:
        WireError: `SerializationException` or `ValidationException`.
    """
    try:
        document = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise WireError(SERIALIZATION, f"The body is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise WireError(SERIALIZATION, "The body must be a JSON object.")
    violations: list[str] = []
    members: dict[str, Any] = _read(service_model().operation_model(operation).input_shape, document, "", violations)
    if violations:
        plural = "s" if len(violations) > 1 else ""
        raise WireError(VALIDATION, f"{len(violations)} validation error{plural} detected: {'; '.join(violations)}")
    return members


class _Unfit(Exception):
    """A value does not fit its shape; the message is the constraint that it breaks."""


def _read(shape: Shape, value: Any, path: str, violations: list[str]) -> Any:  # noqa: ANN401 - any JSON value
    try:
        if isinstance(shape, StructureShape):
            return _structure(shape, value, path, violations)
        if isinstance(shape, ListShape):
            return _list(shape, value, path, violations)
        return _LEAVES[shape.type_name](shape, value)
    except _Unfit as error:
        violations.append(f"Value{_shown(value, shape)} at '{path}' failed to satisfy constraint: Member must {error}")
        return None


def _structure(shape: StructureShape, value: Any, path: str, violations: list[str]) -> dict[str, Any]:  # noqa: ANN401
    _require(isinstance(value, dict), "be an object")
    found: dict[str, Any] = {}
    for name, member in shape.members.items():
        inner = ".".join(filter(None, (path, f"{name[0].lower()}{name[1:]}")))
        if value.get(name) is not None:
            found[name] = _read(member, value[name], inner, violations)
        elif name in shape.required_members:
            violations.append(f"Value null at '{inner}' failed to satisfy constraint: Member must not be null")
    return found


def _list(shape: ListShape, value: Any, path: str, violations: list[str]) -> list[Any]:  # noqa: ANN401
    _require(isinstance(value, list), "be a list")
    _require_range(shape, len(value), "length")
    return [_read(shape.member, one, f"{path}.{place}.member", violations) for place, one in enumerate(value, 1)]


def _string(shape: Shape, value: Any) -> str:  # noqa: ANN401
    _require(isinstance(value, str), "be a string")
    _require_range(shape, len(value), "length")
    pattern, allowed = shape.metadata.get("pattern"), shape.metadata.get("enum")
    # ASCII as in the service's own language: \d is 0 to 9 there, not every digit of Unicode.
    fits = pattern is None or re.fullmatch(pattern, value, re.ASCII)
    _require(bool(fits), f"satisfy regular expression pattern: {pattern}")
    _require(allowed is None or value in allowed, f"satisfy enum value set: [{', '.join(allowed or ())}]")
    return str(value)


def _blob(shape: Shape, value: Any) -> bytes:  # noqa: ANN401
    _require(isinstance(value, str), "be base64 text")
    # Four characters are three bytes: too many bytes are refused before they take memory.
    _require_range(shape, len(value) // 4 * 3 - value[-2:].count("="), "length")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise _Unfit("be base64 text") from None


def _integer(shape: Shape, value: Any) -> int:  # noqa: ANN401
    _require(isinstance(value, int) and not isinstance(value, bool), "be an integer")
    _require(value.bit_length() < _INTEGER_BITS[shape.type_name], f"have at most {_INTEGER_BITS[shape.type_name]} bits")
    _require_range(shape, value, "value")
    return int(value)


def _number(shape: Shape, value: Any) -> float:  # noqa: ANN401
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _require(is_number and math.isfinite(value), "be a number")
    _require_range(shape, value, "value")
    return float(value)


_LEAVES: dict[str, Callable[[Shape, Any], Any]] = {
    "string": _string,
    "blob": _blob,
    "integer": _integer,
    "long": _integer,
    "float": _number,
}


def _require_range(shape: Shape, size: float, what: str) -> None:
    least, most = shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf)
    _require(size >= least, f"have {what} greater than or equal to {least}")
    _require(size <= most, f"have {what} less than or equal to {most}")


def _require(condition: bool, constraint: str) -> None:
    if not condition:
        raise _Unfit(constraint)


def _shown(value: Any, shape: Shape) -> str:  # noqa: ANN401
    if isinstance(value, dict | list) or shape.type_name == "blob":
        return ""  # nobody reads an image in a sentence
    text = str(value)
    return f" '{text[:MAX_SHOWN_CHARACTERS]}{'...' if len(text) > MAX_SHOWN_CHARACTERS else ''}'"
