"""One writer for each format: from the images of each split to files below a folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.annotations.coco import write_coco
from tasks.annotations.csv_table import write_csv
from tasks.annotations.voc import write_voc
from tasks.annotations.yolo import write_yolo
from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.findings import Finding
from tasks.ground_truth.manifests import write_manifest

MANIFESTS = "ground-truth"
BOXES_ONLY = frozenset({"coco", "yolo", "voc"})
"""Formats that have no place for the labels of whole images."""
WITH_IMAGES = frozenset({"yolo", "voc"})
"""Formats that hold copies of the images beside the annotations."""


@dataclass(frozen=True, slots=True)
class Export:
    """What is to be written.

    Attributes:
        folder: where to.
        divided: images of each split, with the truth of the task.
        labels: all labels, sorted; their places are the class ids.
        job_name: of labels whose source names no labelling job.
        reference_prefix: put before every image reference written.
        stated_references: by path, references to write as the source's manifests state them; they win.
        place_image: puts an image's file where a format wants it.
        with_service_key: manifests also hold what the format has no place for, under Keeneye's own key.
    """

    folder: Path
    divided: Mapping[Split, Sequence[ImageEntry]]
    labels: Sequence[str]
    job_name: str
    reference_prefix: str
    stated_references: Mapping[str, str]
    place_image: Callable[[ImageEntry, Path], None]
    with_service_key: bool

    def reference(self, entry: ImageEntry) -> str:
        """Return the reference to write for an image."""
        stated = self.stated_references.get(entry.source_ref)
        return stated or f"{self.reference_prefix}{entry.source_ref}"


def write_ground_truth(export: Export) -> list[Finding]:
    """Write `train.manifest`, `validation.manifest` and `test.manifest`."""
    class_ids = {label: index for index, label in enumerate(export.labels)}
    for split in SPLITS:
        write_manifest(
            export.folder / f"{split}.manifest",
            export.divided[split],
            class_ids,
            export.job_name,
            reference=export.reference,
            with_service_key=export.with_service_key,
        )
    return []


def _write_coco(export: Export) -> list[Finding]:
    findings = []
    for split in SPLITS:
        path = export.folder / "annotations" / f"{split}.json"
        path.parent.mkdir(exist_ok=True)
        findings += write_coco(path, export.divided[split], export.labels, export.reference)
    return findings


WRITERS: dict[str, Callable[[Export], list[Finding]]] = {
    MANIFESTS: write_ground_truth,
    "coco": _write_coco,
    "yolo": lambda export: write_yolo(export.folder, export.divided, export.labels, export.place_image),
    "voc": lambda export: write_voc(export.folder, export.divided, export.place_image),
    "csv": lambda export: write_csv(export.folder / "annotations.csv", export.divided, export.reference),
}
"""Each writes an export in one format and returns what that format cannot hold."""
