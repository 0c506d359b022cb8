"""Data sets for the data report, whose images are only stated."""

from dataclasses import replace

from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding
from tasks.dataset.truth import Truth
from tasks.report.data_inputs import DataReportInputs
from tasks.vision.boxes import BoundingBox


def box(label="bent", left=0, top=0, width=20, height=20):
    return BoundingBox(label, left, top, width, height)


def stated(ref, labels=(), boxes=None, size=(100, 100)):
    """An entry without a file."""
    labels = tuple(sorted({*labels, *(one.label for one in boxes or ())}))
    return ImageEntry(ref, "0" * 64, *size, Truth(labels, boxes))


def inputs_of(root, train=(), test=(), validation=(), labels=None, task="detection", **changes):
    entries = {"train": list(train), "validation": list(validation), "test": list(test)}
    every = [entry for split in entries.values() for entry in split]
    known = sorted({label for entry in every for label in entry.truth.labels})
    plain = DataReportInputs(
        dataset_name="parts",
        digest="ab" * 32,
        parent_digest="",
        task=task,
        labels=known if labels is None else labels,
        entries=entries,
        roots=dict.fromkeys(entries, root),
        findings=[],
        listed=len(every),
        usable=len(every),
        invalid=0,
        layout="class folders",
        validation_mode="open",
        group_count=len(every),
        largest_groups=[],
        provenance={"Source": "parts"},
    )
    return replace(plain, **changes)


def finding(code="WARNING_DUPLICATE_IMAGE", ref="a.png", message="is a copy"):
    return Finding(code=code, source_ref=ref, message=message)
