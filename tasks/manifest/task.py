"""Manifest generation, as Prefect runs it: a dataset version, divided, as Ground Truth manifests for one task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flows.config import DataConfig, GroundTruthTask, MaskConfig, Task
from tasks import engine
from tasks.dataset.entries import SPLITS, Split, read_index
from tasks.dataset.findings import count_by_code, read_findings, require_enough_valid, write_findings
from tasks.dataset.versions import manifests_digest
from tasks.errors import DataError
from tasks.ground_truth.manifests import write_manifest
from tasks.ingest.records import IngestedImages
from tasks.manifest.divide import DivisionRules
from tasks.manifest.records import FINDINGS_FILE, DividedDataset, LabelsPerImage, Manifest, ViewTask
from tasks.manifest.version import divide_dataset
from tasks.manifest.views import (
    NORMAL,
    NORMAL_LABELS,
    Divided,
    View,
    anomaly_view,
    choose_labels_per_image,
    classification_view,
    count_boxes,
    count_labels,
    count_negatives,
    count_normal,
    detection_view,
)
from tasks.metrics.anomaly import ANOMALY
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.vision.masks import MaskOptions

STAGE_VERSION = "4"
COUNTS: Mapping[ViewTask, Callable[[View], dict[Split, dict[str, int]]]] = {
    "classification": count_labels,
    "detection": count_labels,
    "anomaly": count_normal,
}
"""How a task counts images."""


@engine.stage("build manifest")
def build_manifest(
    home: Home, images: IngestedImages, data: DataConfig, masks: MaskConfig, task: GroundTruthTask | Task
) -> Manifest:
    """Divide the dataset and write the train, validation and test manifests of a task; masks become boxes."""
    view_task: ViewTask = ("detection" if images.has_boxes else "classification") if task == "auto" else task
    if view_task == "detection" and not images.has_boxes:
        raise DataError(
            f"{images.root} has neither boxes nor masks (its layout is {images.layout}); annotate boxes, add masks, or "
            "choose the task classification"
        )
    rules = DivisionRules(data.split, data.group_by, near_duplicates=data.near_duplicates)
    # Versions follow each other: two at once would not know of each other's splits.
    with home.lock(f"dataset-{images.dataset_name}"):
        dataset = divide_dataset(home, images, rules)
    rules_of_view = ViewRules(view_task, masks, _normal_labels(data), data.labels_per_image)
    record = _write_view(home, images, dataset, rules_of_view)
    _tell(record)
    findings_path = Path(record.entry_path) / FINDINGS_FILE
    # Over both stages: an image counts once, whichever check it fails.
    require_enough_valid(images.listed, images.invalid + record.invalid, data.max_invalid_fraction, findings_path)
    if not any(record.totals.values()):
        raise DataError(
            f"{images.root} says nothing for the task {view_task} of any of its {images.usable} images; annotate them, "
            "or choose the other task",
            findings_path=str(findings_path),
        )
    return record


@dataclass(frozen=True, slots=True)
class ViewRules:
    """What a task's manifests depend on besides the dataset: the task, and what counts for some tasks."""

    task: ViewTask
    masks: MaskConfig
    normal_labels: frozenset[str]
    labels_per_image: Literal["auto", LabelsPerImage]

    @property
    def config(self) -> dict[str, Any]:
        """The settings that count for the task."""
        masks = {} if self.task == "classification" else self.masks.model_dump()
        normal = {"normal_labels": sorted(self.normal_labels)} if self.task == "anomaly" else {}
        several = {"labels_per_image": self.labels_per_image} if self.task == "classification" else {}
        return {"task": self.task, "masks": masks, **normal, **several}


def _normal_labels(data: DataConfig) -> frozenset[str]:
    return frozenset({data.normal_label.casefold()}) if data.normal_label else NORMAL_LABELS


def _write_view(home: Home, images: IngestedImages, dataset: DividedDataset, rules: ViewRules) -> Manifest:
    key = StageKey(
        stage="manifest",
        version=STAGE_VERSION,
        inputs={"dataset": dataset.key, "name": images.dataset_name},
        config=rules.config,
        libraries=() if rules.task == "classification" else ("numpy", "opencv-python-headless", "pillow"),
    )

    def make(folder: Path) -> Manifest:
        roots = _roots(images)
        divided = {split: list(read_index(dataset.index_path(split))) for split in SPLITS}
        per_image = choose_labels_per_image(divided) if rules.labels_per_image == "auto" else rules.labels_per_image
        view = _view(divided, roots, rules, per_image)
        labels = _labels(view, rules.task)
        class_ids = {label: index for index, label in enumerate(labels)}
        paths = {split: folder / f"{split}.manifest" for split in SPLITS}
        for split in SPLITS:
            write_manifest(paths[split], view.entries[split], class_ids, f"keeneye/{images.dataset_name}")
        findings = [*read_findings(Path(dataset.entry_path) / FINDINGS_FILE), *view.findings]
        write_findings(folder / FINDINGS_FILE, findings)
        return Manifest(
            task=rules.task,
            dataset_name=images.dataset_name,
            dataset_digest=dataset.dataset_digest,
            manifest_digest=manifests_digest(paths),
            parent_digest=dataset.parent_digest,
            roots=roots,
            labels=tuple(labels),
            labels_per_image=per_image if rules.task == "classification" else "one",
            totals={split: len(view.entries[split]) for split in SPLITS},
            images=COUNTS[rules.task](view),
            boxes=count_boxes(view),
            negatives=count_negatives(view),
            groups=dataset.groups,
            findings=count_by_code(findings),
            invalid=len({finding.source_ref for finding in view.findings if finding.severity == "error"}),
        )

    record, path = home.store.reuse_or_make(key, Manifest, make)
    return record.model_copy(update={"entry_path": str(path), "division_path": dataset.entry_path})


def _view(divided: Divided, roots: Mapping[Split, str], rules: ViewRules, per_image: LabelsPerImage) -> View:
    if rules.task == "classification":
        return classification_view(divided, per_image)
    folders = {split: Path(root) for split, root in roots.items()}
    options = MaskOptions(**rules.masks.model_dump())
    with engine.progress("masks to boxes", "images") as report:
        if rules.task == "anomaly":
            return anomaly_view(divided, folders, options, rules.normal_labels, report)
        return detection_view(divided, folders, options, report)


def _labels(view: View, task: ViewTask) -> list[str]:
    """Return all labels, sorted; an anomaly model has its one label even where no anomaly is known yet."""
    found = {label for split in SPLITS for entry in view.entries[split] for label in entry.truth.labels}
    return [ANOMALY] if task == "anomaly" else sorted(found)


def _roots(images: IngestedImages) -> dict[Split, str]:
    return {"train": images.root, "validation": images.root, "test": images.test_root or images.root}


def _tell(record: Manifest) -> None:
    engine.publish_table("images", _rows(record), f"{record.dataset_name}, version {record.dataset_digest[:12]}")
    engine.logger().info(
        "dataset %s version %s, %s%s: %s",
        record.dataset_name,
        record.dataset_digest[:12],
        record.task,
        " with any number of labels per image" if record.is_multi_label else "",
        ", ".join(f"{record.totals[split]} {split}" for split in SPLITS),
    )
    if record.findings:
        engine.logger().warning("findings: %s", ", ".join(f"{code} {n}" for code, n in record.findings.items()))


def _rows(record: Manifest) -> list[dict[str, str | int]]:
    counts = record.boxes if record.task == "detection" else record.images
    labels = (NORMAL, ANOMALY) if record.task == "anomaly" else record.labels
    rows: list[dict[str, str | int]] = [
        {"label": label, **{split: counts[split].get(label, 0) for split in SPLITS}} for label in labels
    ]
    if record.task == "detection" or record.is_multi_label:
        without = "boxes" if record.task == "detection" else "labels"
        rows.append({"label": f"(images without {without})", **{split: record.negatives[split] for split in SPLITS}})
    return rows
