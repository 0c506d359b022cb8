"""From what the user names as a source to a readable folder. Reads no image."""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import RequestError
from tasks.stores.content import ContentStore, StageKey

DEMO_SCHEME = "demo"
DEMO_VERSION = "1"


def require_source(source: str) -> None:
    """Refuse a source that cannot be read, before anything is started.

    Raises:
        RequestError: when the source does not exist, is no folder, or has a scheme that is not read.
    """
    if _scheme(source) == DEMO_SCHEME:
        from tasks.ingest.demo import parse_demo_source

        parse_demo_source(source)
    else:
        _local_folder(source)


def open_source(source: str, store: ContentStore) -> Path:
    """Return the absolute folder of a source; the demo set is painted into the store at its first use.

    Raises:
        RequestError: as `require_source` does.
    """
    return _painted(source, store) if _scheme(source) == DEMO_SCHEME else _local_folder(source)


def default_dataset_name(source: str) -> str:
    """Return a dataset name made from the last part of a source."""
    parts = urlsplit(source) if _scheme(source) else None
    if parts and parts.scheme == DEMO_SCHEME:
        from tasks.ingest.demo import DemoOptions, parse_demo_source

        # Sets of one seed share their pictures, sets of two seeds share none.
        seed = parse_demo_source(source).seed
        return parts.netloc if seed == DemoOptions().seed else f"{parts.netloc}-seed{seed}"
    last = Path(unquote(parts.path) if parts else source).expanduser().resolve().name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-_.")[:64] or "images"


def _scheme(source: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    return found.group(1).lower() if found else ""


def _local_folder(source: str) -> Path:
    scheme = _scheme(source)
    if scheme not in ("", "file"):
        raise RequestError(f"{source} has the scheme {scheme}://, which is not read; name a local folder or demo://")
    try:
        folder = Path(unquote(urlsplit(source).path) if scheme else source).expanduser()
        exists, is_folder = folder.exists(), folder.is_dir()
        str(folder.resolve()).encode("utf-8")
    except (OSError, RuntimeError, ValueError) as error:
        shown = source.encode("utf-8", "backslashreplace").decode("utf-8")
        raise RequestError(f"{shown[:200]!r} cannot be used as a folder ({error}); name a folder of images") from error
    if not exists:
        raise RequestError(f"there is no folder {folder} (seen from {Path.cwd()}); name a folder of images")
    if not is_folder:
        raise RequestError(f"{folder} is a file; name the folder that holds the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise RequestError(f"{folder} may not be read by this user; change its permissions or name another folder")
    return folder.resolve()


def _painted(source: str, store: ContentStore) -> Path:
    # Painting needs OpenCV; a request is refused without it.
    from tasks.ingest.demo import paint_demo, parse_demo_source

    options = parse_demo_source(source)
    key = StageKey(
        stage="demo",
        version=DEMO_VERSION,
        inputs={},
        config={"images": options.images, "seed": options.seed},
        libraries=("numpy", "opencv-python-headless"),
    )
    if store.find(key) is None:
        with store.create(key) as folder:
            paint_demo(folder / "transistors", options)
    return (store.entry_path(key) / "transistors").resolve()
