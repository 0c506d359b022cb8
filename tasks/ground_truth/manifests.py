"""Ground Truth manifests: JSON Lines in the SageMaker format, the contract between the stages.

Writes and reads Keeneye's own manifests. An image-level label is an attribute whose value is the class index and
whose `-metadata` names the class (SageMaker developer guide, "Image classification job output"). What Keeneye
knows beyond the format stands under `keeneye-metadata`, as the service keeps its own under `cl-metadata`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tasks.dataset.entries import ImageEntry
from tasks.errors import DataError

_ENTRY = TypeAdapter(ImageEntry)
ATTRIBUTE = "label"
SERVICE_KEY = "keeneye-metadata"
CLASSIFICATION_TYPE = "groundtruth/image-classification"
UNDATED = "1970-01-01T00:00:00.000000"
"""Creation date of labels whose source names none: a constant, so that equal inputs give equal bytes."""


def write_manifest(path: Path, entries: Iterable[ImageEntry], class_ids: Mapping[str, int], job_name: str) -> None:
    """Write one line per entry; `class_ids` maps each label to its index."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for entry in entries:
            stream.write(manifest_line(entry, class_ids, job_name) + "\n")


def manifest_line(entry: ImageEntry, class_ids: Mapping[str, int], job_name: str) -> str:
    """Return the entry as one JSON line, without the line break."""
    line: dict[str, Any] = {"source-ref": entry.source_ref}
    for index, label in enumerate(entry.truth.labels):
        attribute = ATTRIBUTE if len(entry.truth.labels) == 1 else f"{ATTRIBUTE}-{index}"
        line[attribute] = class_ids[label]
        line[f"{attribute}-metadata"] = {
            "class-name": label,
            "confidence": 1.0,
            "type": CLASSIFICATION_TYPE,
            "job-name": job_name,
            "human-annotated": "yes",
            "creation-date": UNDATED,
        }
    known = {"sha256": entry.sha256, "width": entry.width, "height": entry.height, "group": entry.group}
    line[SERVICE_KEY] = known | ({"mask-ref": entry.mask_ref} if entry.mask_ref else {})
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def read_manifest(path: Path) -> Iterator[ImageEntry]:
    """Yield the entries of a manifest that Keeneye wrote.

    Raises:
        DataError: when a line is not such an entry; the message names file and line number.
    """
    with path.open("rb") as stream:
        for number, text in enumerate(stream, start=1):
            try:
                entry = _entry_from(json.loads(text.decode("utf-8")))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise DataError(
                    f"line {number} of {path} is no entry of a Keeneye manifest ({type(error).__name__}: {error}); "
                    "make the manifest anew from its source"
                ) from error
            yield entry


def _entry_from(line: Any) -> ImageEntry:  # noqa: ANN401 - any JSON value
    if not isinstance(line, dict):
        raise TypeError(f"a {type(line).__name__} in place of an object")
    labels = sorted(
        value["class-name"] for key, value in line.items() if key.endswith("-metadata") and key != SERVICE_KEY
    )
    known = line[SERVICE_KEY]
    return _ENTRY.validate_python(
        {
            "source_ref": line["source-ref"],
            "sha256": known["sha256"],
            "width": known["width"],
            "height": known["height"],
            "truth": {"labels": tuple(labels)},
            "mask_ref": known.get("mask-ref", ""),
            "group": known["group"],
        }
    )
