"""Who may call the endpoint: access keys from a file or the environment, each with the projects it may use."""

import base64
import binascii
import hashlib
import hmac
import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from tasks.errors import KeeneyeError, RequestError

KEYS_FILE_VARIABLE = "KEENEYE_KEYS_FILE"
ACCESS_KEY_VARIABLE = "KEENEYE_ACCESS_KEY_ID"
SECRET_VARIABLE = "KEENEYE_SECRET_ACCESS_KEY"  # noqa: S105 - the name of a variable
PROJECTS_VARIABLE = "KEENEYE_KEY_PROJECTS"
ALL_PROJECTS: Literal["*"] = "*"
MIN_SECRET_CHARACTERS = 16
"""A signature travels in the clear over plain HTTP; a short secret could be guessed from it."""
MAX_FILE_BYTES = 100_000
"""Some hundreds of keys; a changed file is read while requests wait."""

_ACCESS_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SECRET = re.compile(rf"[!-~]{{{MIN_SECRET_CHARACTERS},256}}")
_FIELDS = {"access_key_id", "secret_access_key", "projects"}
_OPTIONAL_FIELDS = {"max_pending"}
_logger = logging.getLogger(__name__)


class AccessRefused(KeeneyeError):
    """A caller did not show that it holds a key. The message says why, and never holds a secret."""


@dataclass(frozen=True, slots=True)
class Key:
    """One client's key. Its repr hides the secret.

    Attributes:
        access_key_id: names it.
        secret_access_key: proves it.
        projects: names of registered models, or `*` for all.
        max_pending: requests that its holder may have in hand at once; None sets no limit of its own.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    projects: tuple[str, ...] | Literal["*"] = ALL_PROJECTS
    max_pending: int | None = None

    def may_use(self, project: str) -> bool:
        """Return whether the key's holder may see and use a project."""
        return self.projects == ALL_PROJECTS or project in self.projects


_Stamp = tuple[int, int, int]


class Keys:
    """The keys that are valid now. A changed file is read again at the next `find`, so keys rotate in place."""

    def __init__(self, keys: Mapping[str, Key], path: Path | None = None) -> None:
        self._own = dict(keys)
        self._path = path
        self._stamp: _Stamp | None = None
        self._from_file: dict[str, Key] = {}
        if path is not None:
            self._stamp, self._from_file = _read_file(path)
            self._require_distinct(self._from_file)

    @classmethod
    def read(cls, path: Path | None, environment: Mapping[str, str]) -> "Keys":
        """Read the keys of a file, and the one key of the environment.

        Args:
            path: YAML or JSON: a list of `{access_key_id, secret_access_key, projects: [names] or ["*"]}`, each with a
                `max_pending` if it shall have one; None takes `KEENEYE_KEYS_FILE`.
            environment: may hold `KEENEYE_KEYS_FILE`, or one key as `KEENEYE_ACCESS_KEY_ID`,
                `KEENEYE_SECRET_ACCESS_KEY` and `KEENEYE_KEY_PROJECTS` (comma separated; all when absent).

        Raises:
            RequestError: when the file cannot be read, is readable by others, or a key is malformed.
        """
        named = environment.get(KEYS_FILE_VARIABLE)
        own = _from_environment(environment)
        return cls({own.access_key_id: own} if own else {}, path or (Path(named) if named else None))

    def find(self, access_key_id: str) -> Key | None:
        """Return a valid key by its id, or None; reads the file again when it has changed."""
        self._reload_when_changed()
        return self._own.get(access_key_id) or self._from_file.get(access_key_id)

    def __len__(self) -> int:
        return len(self._own) + len(self._from_file)

    def __repr__(self) -> str:
        return f"Keys({sorted({*self._own, *self._from_file})})"

    def _reload_when_changed(self) -> None:
        if self._path is None:
            return
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return
        # Remembered before reading, so that a file that stays broken is reported once.
        self._stamp = stamp
        try:
            self._stamp, fresh = _read_file(self._path)
            self._require_distinct(fresh)
        except RequestError as error:
            _logger.error("the keys read before stay valid: %s", error.message)
            return
        self._from_file = fresh
        _logger.info("read %d keys from %s", len(fresh), self._path)

    def _require_distinct(self, fresh: Mapping[str, Key]) -> None:
        for twice in self._own.keys() & fresh.keys():
            raise RequestError(f"access key {twice} is in the environment and in {self._path}; keep one of them")


def verify_basic(header: str | None, keys: Keys) -> Key:
    """Return the key that an `Authorization: Basic` header shows: key id as user, secret as password (RFC 7617).

    Raises:
        AccessRefused: when there is no such header, or it holds no valid key.
    """
    scheme, _, credentials = (header or "").partition(" ")
    if scheme.lower() != "basic":
        raise AccessRefused("authentication is needed: HTTP Basic, with the access key's id and its secret")
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise AccessRefused("the Authorization header is no HTTP Basic; send base64 of ID:SECRET") from None
    access_key_id, _, secret = text.partition(":")
    key = keys.find(access_key_id)
    # Compared as digests, and also for an unknown id: neither length nor existence shows in the time taken.
    equal = hmac.compare_digest(_digest(secret), _digest(key.secret_access_key if key else ""))
    if key is None or not equal:
        raise AccessRefused("the access key or its secret is wrong; check both")
    return key


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino


def _stamp_of(path: Path) -> _Stamp | None:
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _read_file(path: Path) -> tuple[_Stamp, dict[str, Key]]:
    try:
        with path.open("rb") as stream:
            # Before the content: when the file changes in between, the next stamp differs and it is read again.
            found = os.fstat(stream.fileno())
            content = stream.read(MAX_FILE_BYTES + 1)
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise RequestError(f"the keys file {path} is open to other users; run `chmod 600 {path}`")
        if len(content) > MAX_FILE_BYTES:
            raise RequestError(f"the keys file {path} has more than {MAX_FILE_BYTES} bytes; name a file of keys")
        items = yaml.safe_load(content.decode())
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise RequestError(f"the keys file {path} cannot be read: {why}; name a YAML or JSON file") from None
    except (yaml.YAMLError, RecursionError) as error:  # whose text quotes the file, secrets included
        raise RequestError(f"the keys file {path} is neither YAML nor JSON{_place(error)}; mend it") from None
    return _stamp(found), _keys_of(items, path)


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" from line {mark.line + 1} on" if mark else ""


def _keys_of(items: Any, path: Path) -> dict[str, Key]:  # noqa: ANN401 - any YAML value
    if not isinstance(items, list) or not items:
        raise RequestError(f"the keys file {path} holds no list of keys; write one item `- access_key_id: ...` per key")
    keys: dict[str, Key] = {}
    for number, item in enumerate(items, 1):
        key = _key_of(item, f"key {number} of {path}")
        if key.access_key_id in keys:
            raise RequestError(f"key {number} of {path} repeats the access key {key.access_key_id}; keep one of them")
        keys[key.access_key_id] = key
    return keys


def _key_of(item: Any, where: str) -> Key:  # noqa: ANN401 - any YAML value
    if not isinstance(item, dict) or set(item) - _OPTIONAL_FIELDS != _FIELDS:
        raise RequestError(
            f"{where} must have access_key_id, secret_access_key and projects, perhaps max_pending, and nothing else"
        )
    names = item["projects"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise RequestError(f'the projects of {where} are no list of names; write ["*"] for all projects')
    most = item.get("max_pending")
    if "max_pending" in item and (type(most) is not int or most < 1):
        raise RequestError(f"the max_pending of {where} is no whole number from 1 up; write one, or leave it out")
    return replace(_valid_key(item["access_key_id"], item["secret_access_key"], names, where), max_pending=most)


def _from_environment(environment: Mapping[str, str]) -> Key | None:
    access_key_id, secret = environment.get(ACCESS_KEY_VARIABLE), environment.get(SECRET_VARIABLE)
    if not access_key_id and not secret:
        return None
    if not access_key_id or not secret:
        raise RequestError(f"{ACCESS_KEY_VARIABLE} and {SECRET_VARIABLE} come together; set both or none")
    names = [name.strip() for name in environment.get(PROJECTS_VARIABLE, ALL_PROJECTS).split(",") if name.strip()]
    if not names:
        raise RequestError(f"{PROJECTS_VARIABLE} names no project; write names, or * for all projects")
    return _valid_key(access_key_id, secret, names, "the key of the environment")


def _valid_key(access_key_id: Any, secret: Any, names: list[str], where: str) -> Key:  # noqa: ANN401 - any YAML value
    if not isinstance(access_key_id, str) or not _ACCESS_KEY_ID.fullmatch(access_key_id):
        raise RequestError(
            f"the access_key_id of {where} is no text of 1 to 128 letters, digits, _ or -; quote it if it is a number"
        )
    if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
        raise RequestError(
            f"the secret_access_key of {where} is no text of {MIN_SECRET_CHARACTERS} to 256 printable ASCII "
            "characters without spaces; make one with `openssl rand -hex 20`"
        )
    return Key(access_key_id, secret, ALL_PROJECTS if ALL_PROJECTS in names else tuple(names))
