"""Ground Truth manifests: JSON Lines in the SageMaker format, the contract between the stages.

Writes and reads Keeneye's own manifests. An image-level label is an attribute whose value is the class index and
whose `-metadata` names the class (SageMaker developer guide, "Image classification job output"), of an image without
any an empty list ("Multi-label image classification job output"); boxes are one
attribute with the image's size and the annotations, whose class map lists the classes of that image ("Bounding box job
output"). What Keeneye knows beyond the format stands under `keeneye-metadata`, as the service keeps its own under
`cl-metadata`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tasks.annotations.dates import UNDATED
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import DataError
from tasks.ground_truth.attributes import SERVICE_KEY

_ENTRY = TypeAdapter(ImageEntry)
LABEL_ATTRIBUTE = "label"
BOXES_ATTRIBUTE = "boxes"
CLASSIFICATION_TYPE = "groundtruth/image-classification"
MULTI_LABEL_TYPE = "groundtruth/image-classification-multilabel"
DETECTION_TYPE = "groundtruth/object-detection"


def write_manifest(
    path: Path,
    entries: Iterable[ImageEntry],
    class_ids: Mapping[str, int],
    job_name: str,
    *,
    reference: Callable[[ImageEntry], str] = attrgetter("source_ref"),
    with_service_key: bool = True,
) -> None:
    """Write one line per entry.

    Args:
        path: the file to write.
        entries: images; those with boxes (or known to have none) get a boxes attribute, others their labels.
        class_ids: each label's index.
        job_name: of labels whose source names no labelling job.
        reference: gives the image reference to write.
        with_service_key: also write what the format has no place for, under Keeneye's own key.
    """
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for entry in entries:
            line = manifest_line(entry, class_ids, job_name, reference(entry), with_service_key=with_service_key)
            stream.write(line + "\n")


def manifest_line(
    entry: ImageEntry, class_ids: Mapping[str, int], job_name: str, reference: str, *, with_service_key: bool = True
) -> str:
    """Return the entry as one JSON line, without the line break."""
    about = {
        "job-name": entry.job_name or job_name,
        "human-annotated": "yes" if entry.is_human else "no",
        "creation-date": entry.creation_date or UNDATED,
    }
    attributes = _labels(entry, class_ids, about) if entry.truth.boxes is None else _boxes(entry, class_ids, about)
    service = {SERVICE_KEY: _service_value(entry)} if with_service_key else {}
    line = {"source-ref": reference} | attributes | service
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def _labels(entry: ImageEntry, class_ids: Mapping[str, int], about: Mapping[str, str]) -> dict[str, Any]:
    labels = entry.truth.labels
    if not labels:
        return no_labels(about)
    attributes: dict[str, Any] = {}
    for index, (label, confidence) in enumerate(zip(labels, _confidences(entry.truth), strict=True)):
        attribute = LABEL_ATTRIBUTE if len(labels) == 1 else f"{LABEL_ATTRIBUTE}-{index}"
        attributes[attribute] = class_ids[label]
        attributes[f"{attribute}-metadata"] = {
            "class-name": label,
            "confidence": confidence,
            "type": CLASSIFICATION_TYPE,
            **about,
        }
    return attributes


def no_labels(about: Mapping[str, str]) -> dict[str, Any]:
    """Return the attribute of an image that no label fits, with what its metadata says besides."""
    maps: dict[str, dict[str, Any]] = {"class-map": {}, "confidence-map": {}}
    return {LABEL_ATTRIBUTE: [], f"{LABEL_ATTRIBUTE}-metadata": {**maps, "type": MULTI_LABEL_TYPE, **about}}


def _boxes(entry: ImageEntry, class_ids: Mapping[str, int], about: Mapping[str, str]) -> dict[str, Any]:
    boxes = entry.truth.boxes or ()
    annotations = [
        {"class_id": class_ids[box.label], "left": box.left, "top": box.top, "width": box.width, "height": box.height}
        for box in boxes
    ]
    return {
        BOXES_ATTRIBUTE: {
            "image_size": [{"width": entry.width, "height": entry.height, "depth": 3}],
            "annotations": annotations,
        },
        f"{BOXES_ATTRIBUTE}-metadata": {
            "objects": [{"confidence": box.confidence} for box in boxes],
            "class-map": {str(class_ids[label]): label for label in sorted({box.label for box in boxes})},
            "type": DETECTION_TYPE,
            **about,
        },
    }


def _service_value(entry: ImageEntry) -> dict[str, Any]:
    known: dict[str, Any] = {
        "sha256": entry.sha256,
        "width": entry.width,
        "height": entry.height,
        "group": entry.group,
    }
    if entry.job_name:
        # Every label names a job; this is one that Keeneye did not make up.
        known["job-name"] = entry.job_name
    if entry.mask_ref:
        known["mask-ref"] = entry.mask_ref
        known["mask-sha256"] = entry.mask_sha256
        known["mask-classes"] = [asdict(one) for one in entry.mask_classes]
    return known


def _confidences(truth: Truth) -> Sequence[float]:
    return truth.confidences or (1.0,) * len(truth.labels)


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
    known = line[SERVICE_KEY]
    truth = _read_boxes(line) if BOXES_ATTRIBUTE in line else _read_labels(line)
    # Whoever wrote the metadata of one attribute wrote that of all.
    about: dict[str, Any] = next(
        (value for key, value in line.items() if key.endswith("-metadata") and key != SERVICE_KEY), {}
    )
    return _ENTRY.validate_python(
        {
            "source_ref": line["source-ref"],
            "sha256": known["sha256"],
            "width": known["width"],
            "height": known["height"],
            "truth": truth,
            "mask_ref": known.get("mask-ref", ""),
            "group": known["group"],
            "mask_classes": known.get("mask-classes", ()),
            "mask_sha256": known.get("mask-sha256", ""),
            "creation_date": "" if about["creation-date"] == UNDATED else about["creation-date"],
            "job_name": known.get("job-name", ""),
            "is_human": about["human-annotated"] == "yes",
        }
    )


def _read_labels(line: Mapping[str, Any]) -> dict[str, Any]:
    named = sorted(
        (value["class-name"], value["confidence"])
        for key, value in line.items()
        if key.endswith("-metadata") and key != SERVICE_KEY and value["type"] != MULTI_LABEL_TYPE
    )
    confidences = tuple(confidence for _, confidence in named)
    is_sure = all(confidence == 1.0 for confidence in confidences)
    return {"labels": tuple(label for label, _ in named), "confidences": () if is_sure else confidences}


def _read_boxes(line: Mapping[str, Any]) -> dict[str, Any]:
    metadata = line[f"{BOXES_ATTRIBUTE}-metadata"]
    boxes = tuple(
        {
            "label": metadata["class-map"][str(one["class_id"])],
            **{side: one[side] for side in ("left", "top", "width", "height")},
            "confidence": about["confidence"],
        }
        for one, about in zip(line[BOXES_ATTRIBUTE]["annotations"], metadata["objects"], strict=True)
    )
    return {"labels": tuple(sorted({box["label"] for box in boxes})), "boxes": boxes}
