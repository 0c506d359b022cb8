"""A version tested where its users meet it: through the endpoint of an environment, by the alias that was just moved.

Speaks the plain HTTP API (`deployments/endpoint`), and knows of it no more than a client does.
"""

import io
import json
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from PIL import Image

from tasks.errors import EnvironmentFailed, KeeneyeError, RequestError
from tasks.promote.endpoint_answers import EndpointAnswer, read_answer

KEY_VARIABLE = "KEENEYE_ENDPOINT_KEY"
SECRET_VARIABLE = "KEENEYE_ENDPOINT_SECRET"  # noqa: S105 - the name of a variable
AT_ONCE = 8
"""Images asked for at once, as by a line with several cameras."""
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
"""For one answer: an endpoint may have to load its model first."""
BUSY_SECONDS = 60.0
"""For an endpoint that says it is busy to find room."""
POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0
"""What the endpoint itself says in `Retry-After`."""
MAX_ANSWER_BYTES = 4_000_000
"""Ten times the answer of a detector that tells the most boxes it may, a thousand."""
MAX_TOLD_CHARACTERS = 300
_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_NO_ACCESS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class EndpointUnreachable(EnvironmentFailed):
    """Nothing answers at the endpoint's address, or what answers is no endpoint of Keeneye."""


class VersionNotServed(KeeneyeError):
    """The endpoint goes on answering with another version than the alias means."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key of the endpoint. Its repr hides the secret."""

    access_key_id: str
    secret_access_key: str = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Credentials | None":
        """Read `KEENEYE_ENDPOINT_KEY` and `KEENEYE_ENDPOINT_SECRET`; None when neither is set.

        Raises:
            RequestError: when only one of them is.
        """
        key, secret = environment.get(KEY_VARIABLE, ""), environment.get(SECRET_VARIABLE, "")
        if bool(key) != bool(secret):
            raise RequestError(f"{KEY_VARIABLE} and {SECRET_VARIABLE} come together; set both or none")
        return cls(key, secret) if key else None


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes
    milliseconds: float


def require_endpoint(address: str, credentials: Credentials | None, model: str) -> None:
    """Check, before anything is moved, that an endpoint answers at an address and takes the key for a model.

    Raises:
        EndpointUnreachable: when nothing answers, or something else than a Keeneye endpoint.
        RequestError: when the key is not taken, or not for this model.
    """
    with _client(address, credentials) as client:
        _require_own(_reply(client, "GET", f"/v1/models/{quote(model, safe='')}"), address)


def wait_until_served(
    address: str,
    credentials: Credentials | None,
    model: str,
    alias: str,
    version: str,
    bundle_digest: str,
    seconds: float,
) -> float:
    """Ask until an answer was made by a version; returns the seconds it took.

    Only a prediction tells: the endpoint's list of models is the registry's, which is ahead of what is loaded.

    Args:
        address: of the endpoint, such as http://127.0.0.1:8800.
        credentials: a key for the model; None for an endpoint without keys.
        model: registered model.
        alias: that was moved.
        version: that it means now.
        bundle_digest: of that version.
        seconds: to wait at most.

    Raises:
        EndpointUnreachable: when nothing answers, or something else than a Keeneye endpoint.
        RequestError: when the key is not taken.
        VersionNotServed: when another version, or none, still answers at the end.
    """
    started = time.monotonic()
    image, path = _small_image(), _predict_path(model, alias)
    with _client(address, credentials) as client:
        while True:
            answer = _answer(_reply(client, "POST", path, image), address)
            waited = time.monotonic() - started
            if (answer.version, answer.bundle_digest) == (version, bundle_digest):
                return waited
            if waited >= seconds:
                raise VersionNotServed(
                    f"{waited:.1f} s after {alias} of {model} moved to version {version}, the endpoint at {address} "
                    f"{_instead(answer, version)}; its log says why"
                )
            time.sleep(POLL_SECONDS)


def answers_through(
    address: str, credentials: Credentials | None, model: str, alias: str, files: Iterable[bytes]
) -> list[EndpointAnswer]:
    """Ask for the answers to image files, 8 at once, in order; twice as many are in memory at most.

    An image that is refused is an answer with a problem. An endpoint that is busy is asked again, for a minute.

    Args:
        address: of the endpoint.
        credentials: a key for the model; None for an endpoint without keys.
        model: registered model.
        alias: of its version.
        files: encoded images, read as they are needed.

    Raises:
        EndpointUnreachable: when nothing answers, or something else than a Keeneye endpoint.
        RequestError: when the key is not taken.
    """
    path = _predict_path(model, alias)
    answers: list[EndpointAnswer] = []
    under_way: deque[Future[_Reply]] = deque()
    with _client(address, credentials) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        for image in files:
            if len(under_way) == 2 * AT_ONCE - 1:
                answers.append(_answer(under_way.popleft().result(), address))
            under_way.append(threads.submit(_patient_reply, client, path, image))
        answers += [_answer(one.result(), address) for one in under_way]
    return answers


def _client(address: str, credentials: Credentials | None) -> httpx.Client:
    auth = (credentials.access_key_id, credentials.secret_access_key) if credentials else None
    try:
        return httpx.Client(
            base_url=address,
            auth=auth,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            headers={"accept-encoding": "identity"},  # so that what is counted is what arrives
            # A proxy for the world outside does not reach this machine's own addresses.
            trust_env=urlsplit(address).hostname not in {"127.0.0.1", "::1", "localhost"},
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise RequestError(f"{address!r} is no endpoint's address: {error}; write http://HOST:PORT") from None


def _reply(client: httpx.Client, method: str, path: str, image: bytes | None = None) -> _Reply:
    started = time.perf_counter()
    try:
        with client.stream(method, path, content=image) as response:
            body = bytearray()
            for part in response.iter_raw():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise EndpointUnreachable(
                        f"{_shown(client)} answers with more than {MAX_ANSWER_BYTES} bytes, which no Keeneye endpoint "
                        "does; check the environment's address"
                    )
    except httpx.HTTPError as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise EndpointUnreachable(
            f"the endpoint at {_shown(client)} does not answer: {why}; start it with `keeneye serve --environment "
            "NAME`, or write its address into the environment's file"
        ) from None
    return _Reply(response.status_code, bytes(body), (time.perf_counter() - started) * 1e3)


def _shown(client: httpx.Client) -> str:
    return str(client.base_url).rstrip("/")


def _patient_reply(client: httpx.Client, path: str, image: bytes) -> _Reply:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        reply = _reply(client, "POST", path, image)
        if reply.status not in _BUSY or time.monotonic() >= deadline:
            return reply
        time.sleep(RETRY_SECONDS)


def _answer(reply: _Reply, address: str) -> EndpointAnswer:
    _require_own(reply, address)
    if reply.status != HTTPStatus.OK:
        return EndpointAnswer(problem=f"{reply.status} {_detail(reply)}".strip())
    return read_answer(reply.body, reply.milliseconds)


def _require_own(reply: _Reply, address: str) -> None:
    if not isinstance(_parsed(reply), dict):
        raise EndpointUnreachable(
            f"{address} answers {reply.status}, but not as a Keeneye endpoint does; check the environment's address"
        )
    if reply.status in _NO_ACCESS:
        raise RequestError(
            f"the endpoint at {address} does not take the key: {_detail(reply)}; set {KEY_VARIABLE} and "
            f"{SECRET_VARIABLE} to one of its keys that is for this model"
        )


def _parsed(reply: _Reply) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def _detail(reply: _Reply) -> str:
    problem = _parsed(reply)
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return " ".join(str(detail or "without a word").split())[:MAX_TOLD_CHARACTERS]


def _instead(answer: EndpointAnswer, version: str) -> str:
    if answer.problem:
        return f"answers {answer.problem}"
    if answer.version == version:
        return f"answers with another bundle ({answer.bundle_digest[:12]}) of that number: it reads another registry"
    return f"still answers with version {answer.version[:20]}"


def _predict_path(model: str, alias: str) -> str:
    return f"/v1/models/{quote(model, safe='')}@{quote(alias, safe='')}:predict"


def _small_image() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(stream, "PNG")
    return stream.getvalue()
