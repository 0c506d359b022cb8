"""What a network starts from, found before it is needed: in a package, on a hub, in a file, in the registry.

Files are safetensors, or what torch reads with `weights_only`: nothing is unpickled that could run. What a network
makes of them is told in `tasks/train/learning/weights.py`.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

import httpx
from pydantic import BaseModel, Field, ValidationError

from tasks.bundle.format import file_sha256
from tasks.errors import EnvironmentFailed, RequestError
from tasks.stores.home import Home
from tasks.train.backbone import WEIGHTS_SHA256_PREFIX
from tasks.train.earlier import MODELS_SCHEME, EarlierVersion, find_earlier

PACKAGE, NO_WEIGHTS = "package", "none"
HUB_SCHEME = "hub:"
HUB_VARIABLE = "HF_ENDPOINT"
DEFAULT_HUB = "https://huggingface.co"
HUB_FILE = "timm/{name}/resolve/main/model.safetensors"
MAX_WEIGHTS_BYTES = 2**30
TRANSFER_SECONDS = 900.0
"""The longest that a transfer may take as a whole; a server that goes on a byte at a time is not waited for."""
SILENCE_SECONDS = 20.0
_DIGESTS: Mapping[str, str] = MappingProxyType({PACKAGE: WEIGHTS_SHA256_PREFIX, NO_WEIGHTS: NO_WEIGHTS})


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """A backbone's tensors, or their absence.

    Attributes:
        address: as the request has it.
        digest: SHA-256 of the file, hexadecimal; of the package its beginning; `none`.
        file: with the tensors, by the names they have in timm; None for the package and for none.
        absence: why an earlier copy was taken: the server did not answer. Empty otherwise.
    """

    address: str
    digest: str
    file: Path | None = None
    absence: str = ""


class _Copy(BaseModel):
    """What was fetched from an address before.

    Attributes:
        digest: SHA-256 of the file, hexadecimal; its name in the folder of weights.
        etag: by which the server knows its version; empty when it gave none.
    """

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    etag: str = ""


def find_weights(home: Home, address: str) -> FirstWeights | EarlierVersion:
    """Return what `training.weights` names now; what lies elsewhere is fetched and kept in the home.

    Raises:
        RequestError: when there is no such file, model or version, or it is too large.
        EnvironmentFailed: when a server or the hub does not answer.
    """
    if address in _DIGESTS:
        return FirstWeights(address, _DIGESTS[address])
    if address.startswith(MODELS_SCHEME):
        return find_earlier(home, address)
    if address.startswith(HUB_SCHEME):
        return _fetched(home, address, _hub_address(address))
    if address.startswith(("http://", "https://")):
        return _fetched(home, address, address)
    return _local(address)


def _local(address: str) -> FirstWeights:
    path = Path(unquote(urlsplit(address).path) if address.startswith("file:") else address)
    if not path.is_file():
        raise RequestError(f"training.weights names {path}, which is no file; name a file of tensors")
    if path.stat().st_size > MAX_WEIGHTS_BYTES:
        raise _too_large(address)
    return FirstWeights(address, file_sha256(path), path)


def _hub_address(address: str) -> str:
    hub = os.environ.get(HUB_VARIABLE) or DEFAULT_HUB
    return f"{hub.rstrip('/')}/{HUB_FILE.format(name=address.removeprefix(HUB_SCHEME))}"


def _fetched(home: Home, address: str, url: str) -> FirstWeights:
    folder = home.weights_path
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / f"{hashlib.sha256(url.encode()).hexdigest()}.json"
    kept = _kept(folder, note)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        part, fresh_note = Path(scratch) / "part", Path(scratch) / "note"
        try:
            etag = _download(address, url, part, kept.etag if kept else "")
        except EnvironmentFailed as error:
            if kept is None:
                raise
            return FirstWeights(address, kept.digest, folder / kept.digest, error.message)
        if kept is None or part.exists():
            kept = _Copy(digest=file_sha256(part), etag=etag)
            part.replace(folder / kept.digest)
            fresh_note.write_text(kept.model_dump_json(), encoding="utf-8")
            fresh_note.replace(note)
    return FirstWeights(address, kept.digest, folder / kept.digest)


def _kept(folder: Path, note: Path) -> _Copy | None:
    try:
        kept = _Copy.model_validate_json(note.read_bytes())
    except (OSError, ValidationError):
        return None
    path = folder / kept.digest
    return kept if path.is_file() and file_sha256(path) == kept.digest else None


def _download(address: str, url: str, path: Path, etag: str) -> str:
    """Write a file, unless the server says that it is still the one of an ETag; returns the ETag it has now."""
    headers = {"If-None-Match": etag} if etag else {}
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=SILENCE_SECONDS) as answer:
            if etag and answer.status_code == HTTPStatus.NOT_MODIFIED:
                return etag
            _require_found(address, answer)
            with path.open("wb") as stream:
                _copy(address, answer, stream.write)
            return str(answer.headers.get("ETag", ""))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _not_fetched(address, url, str(error) or type(error).__name__) from error


def _require_found(address: str, answer: httpx.Response) -> None:
    if answer.status_code in {401, 403, 404, 410}:
        example = ", with its tag as in hub:resnet18.a1_in1k" if address.startswith(HUB_SCHEME) else ""
        raise RequestError(
            f"training.weights {address} is not at {answer.url} (status {answer.status_code}); name weights that are "
            f"there for everyone{example}"
        )
    if answer.status_code != HTTPStatus.OK:
        raise _not_fetched(address, str(answer.url), f"status {answer.status_code}")


def _copy(address: str, answer: httpx.Response, write: Callable[[bytes], object]) -> None:
    deadline, count = time.monotonic() + TRANSFER_SECONDS, 0
    for chunk in answer.iter_bytes(2**20):
        count += len(chunk)
        if count > MAX_WEIGHTS_BYTES:
            raise _too_large(address)
        if time.monotonic() > deadline:
            raise EnvironmentFailed(
                f"training.weights {address} did not arrive within {TRANSFER_SECONDS:g} seconds; try again later, or "
                "name a file"
            )
        write(chunk)


def _not_fetched(address: str, url: str, reason: str) -> EnvironmentFailed:
    return EnvironmentFailed(
        f"training.weights {address} cannot be fetched from {url} ({reason}); see that this machine reaches it, or "
        "name a file, package or none"
    )


def _too_large(address: str) -> RequestError:
    return RequestError(
        f"training.weights {address} holds more than {MAX_WEIGHTS_BYTES // 2**20} megabytes; name the weights of a "
        "smaller network"
    )
