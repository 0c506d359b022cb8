"""A task's view of a divided dataset: labels for classification; boxes, made from masks if need be, for detection."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.dataset.files import read_mask_bytes
from tasks.dataset.findings import Finding
from tasks.dataset.truth import Truth
from tasks.manifest.records import LabelsPerImage
from tasks.metrics.anomaly import ANOMALY
from tasks.vision.boxes import BoundingBox
from tasks.vision.images import ImageError
from tasks.vision.masks import MaskBoxes, MaskOptions, mask_to_boxes

THREADS = 2
MAX_UNMATCHED_SHARE = 0.01
"""Of a mask's pixels: fewer that are of no class are soft edges."""
RARE_LABEL = "WARNING_RARE_LABEL"
LABEL_WITHOUT_BOX = "WARNING_LABEL_WITHOUT_BOX"
NORMAL = "normal"
NORMAL_LABELS = frozenset({"good", NORMAL, "ok"})
"""What images without anomaly are called, in MVTec's data, in Lookout for Vision's manifests and on shop floors."""

Divided = Mapping[Split, Sequence[ImageEntry]]


@dataclass(frozen=True, slots=True)
class View:
    """The images a task can use, by split, each with the truth that the task learns; and what was found."""

    entries: dict[Split, list[ImageEntry]]
    findings: tuple[Finding, ...]


def choose_labels_per_image(divided: Divided) -> LabelsPerImage:
    """Return `any` where an image has several labels, else `one`."""
    return "any" if any(len(entry.truth.labels) > 1 for split in SPLITS for entry in divided[split]) else "one"


def classification_view(divided: Divided, labels_per_image: LabelsPerImage = "one") -> View:
    """Keep images with a label, or with any number of labels, none among it; their boxes are left aside."""
    judge = _any_labels if labels_per_image == "any" else _one_label
    findings = []
    entries: dict[Split, list[ImageEntry]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for entry in divided[split]:
            if finding := judge(entry):
                findings.append(finding)
            else:
                entries[split].append(replace(entry, truth=replace(entry.truth, boxes=None)))
    if labels_per_image == "any":
        findings += _rare_labels(entries)
    return View(entries, tuple(findings))


def _one_label(entry: ImageEntry) -> Finding | None:
    if not entry.truth.labels:
        message = "no label is known; name one, detect, or let data.labels_per_image be any"
        return _finding("WARNING_UNANNOTATED_RECORD", entry, message)
    if len(entry.truth.labels) > 1:
        message = f"it has the labels {entry.truth.stratum}; keep one, or let data.labels_per_image be any"
        return _finding("ERROR_TOO_MANY_LABELS_PER_IMAGE", entry, message)
    return None


def _any_labels(entry: ImageEntry) -> Finding | None:
    if entry.truth.labels or entry.is_negative:
        return None
    return _finding("WARNING_UNANNOTATED_RECORD", entry, "no label is known, only a mask; name its labels, or detect")


def _rare_labels(entries: Mapping[Split, Sequence[ImageEntry]]) -> Iterator[Finding]:
    """Name the labels that a split with images has none of, each by its first image."""
    carriers: dict[str, dict[Split, list[ImageEntry]]] = {}
    for split in SPLITS:
        for entry in entries[split]:
            for label in entry.truth.labels:
                carriers.setdefault(label, {}).setdefault(split, []).append(entry)
    for label in sorted(carriers):
        by_split = carriers[label]
        without = [split for split in SPLITS if entries[split] and split not in by_split]
        if without:
            images = [entry for split in SPLITS for entry in by_split.get(split, ())]
            count = f"{len(images)} image{'s' * (len(images) > 1)}"
            message = f"{label!r} is a label of {count} only, none of them in {' and '.join(without)}; add images"
            yield _finding(RARE_LABEL, images[0], message)


def detection_view(
    divided: Divided, roots: Mapping[Split, Path], options: MaskOptions, report: Callable[[int, int], None]
) -> View:
    """Keep images whose boxes are known, or can be made from their masks; none at all is a true negative.

    Raises:
        SourceChanged: when a mask is not what it was at ingest.
    """
    placed = [(split, entry) for split in SPLITS for entry in divided[split]]
    entries: dict[Split, list[ImageEntry]] = {split: [] for split in SPLITS}
    findings: list[Finding] = []
    with ThreadPoolExecutor(THREADS) as pool:
        looked = pool.map(lambda one: _with_boxes(roots[one[0]], one[1], options), placed)
        for done, ((split, _), (entry, found)) in enumerate(zip(placed, looked, strict=True), start=1):
            in_test_source = split == "test" and roots["test"] != roots["train"]
            findings += [finding.model_copy(update={"in_test_source": in_test_source}) for finding in found]
            if entry:
                entries[split].append(entry)
            report(done, len(placed))
    return View(entries, tuple(findings))


def anomaly_view(
    divided: Divided,
    roots: Mapping[Split, Path],
    options: MaskOptions,
    normal_labels: frozenset[str],
    report: Callable[[int, int], None],
) -> View:
    """Tell normal images from anomalies; of the training split only the normal ones stay.

    An image is normal when it has no box and no label but normal ones. An anomaly gets the label `anomaly`, and so do
    its boxes, where they or a mask are known.

    Args:
        divided: the images of each split.
        roots: per split, the folder to which references are relative.
        options: how masks become boxes.
        normal_labels: what normal images are called, case-folded.
        report: called with images done and their number.

    Raises:
        SourceChanged: when a mask is not what it was at ingest.
    """
    # Without a mask nothing is known of places, and the image's label alone is asked.
    located = {s: [e for e in divided[s] if e.mask_ref or e.truth.boxes is not None] for s in SPLITS}
    boxed = detection_view(located, roots, options, report)
    boxes = {(split, e.source_ref): e.truth.boxes for split in SPLITS for e in boxed.entries[split]}
    findings = [one for one in boxed.findings if one.code != LABEL_WITHOUT_BOX]
    entries: dict[Split, list[ImageEntry]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for entry in divided[split]:
            truth = _normal_or_not(entry, boxes.get((split, entry.source_ref)), normal_labels)
            if truth is None:
                message = "no label, box or mask tells whether it is normal; name its label"
                findings.append(_finding("WARNING_UNANNOTATED_RECORD", entry, message))
            elif split != "train" or not truth.labels:
                entries[split].append(replace(entry, truth=truth))
    return View(entries, tuple(findings))


def _normal_or_not(
    entry: ImageEntry, boxes: tuple[BoundingBox, ...] | None, normal_labels: frozenset[str]
) -> Truth | None:
    others = [label for label in entry.truth.labels if label.casefold() not in normal_labels]
    if boxes or others:
        # Boxes that are empty would say that there is nothing to find.
        return Truth((ANOMALY,), tuple(replace(box, label=ANOMALY) for box in boxes or ()) or None)
    return Truth((), ()) if entry.truth.labels or boxes is not None else None


def count_normal(view: View) -> dict[Split, dict[str, int]]:
    """Number of normal images and of anomalies by split."""
    anomalies = {split: sum(bool(entry.truth.labels) for entry in view.entries[split]) for split in SPLITS}
    return {s: {ANOMALY: anomalies[s], NORMAL: len(view.entries[s]) - anomalies[s]} for s in SPLITS}


def count_labels(view: View) -> dict[Split, dict[str, int]]:
    """Number of images by split and label, labels sorted; an image of two labels counts for both."""
    return {split: _sorted(Counter(n for e in view.entries[split] for n in e.truth.labels)) for split in SPLITS}


def count_boxes(view: View) -> dict[Split, dict[str, int]]:
    """Number of boxes by split and label, labels sorted."""
    return {
        split: _sorted(Counter(box.label for entry in view.entries[split] for box in entry.truth.boxes or ()))
        for split in SPLITS
    }


def count_negatives(view: View) -> dict[Split, int]:
    """Number of images by split that are known to have no box, or no label."""
    return {split: sum(not entry.truth.labels for entry in view.entries[split]) for split in SPLITS}


def _with_boxes(root: Path, entry: ImageEntry, options: MaskOptions) -> tuple[ImageEntry | None, list[Finding]]:
    if entry.truth.boxes is not None:
        return _with_truth(entry, entry.truth.boxes), list(_label_findings(entry))
    if not entry.mask_ref:
        message = "neither boxes nor a mask are known, nor that there is nothing to box; draw them"
        return None, [_finding("WARNING_UNANNOTATED_RECORD", entry, message)]
    data = read_mask_bytes(root, entry)
    try:
        made = mask_to_boxes(data, entry.mask_classes, options, width=entry.width, height=entry.height)
    except ImageError as error:
        return None, [_finding(error.code, entry, f"{entry.mask_ref}: {error}")]
    return _with_truth(entry, made.boxes), list(_mask_findings(entry, made, options))


def _with_truth(entry: ImageEntry, boxes: tuple[BoundingBox, ...]) -> ImageEntry:
    # What a detector learns are the labels of boxes: an image-level `good` is the absence of them.
    return replace(entry, truth=Truth(tuple(sorted({box.label for box in boxes})), boxes))


def _label_findings(entry: ImageEntry) -> Iterator[Finding]:
    boxes = entry.truth.boxes or ()
    aside = sorted(set(entry.truth.labels) - {box.label for box in boxes})
    # Without boxes, a label such as `good` says just that.
    if boxes and aside:
        message = f"{', '.join(aside)} is said of the whole image, which detection leaves aside; draw boxes if needed"
        yield _finding(LABEL_WITHOUT_BOX, entry, message)


def _mask_findings(entry: ImageEntry, made: MaskBoxes, options: MaskOptions) -> Iterator[Finding]:
    if made.dropped:
        count = "1 speck" if made.dropped == 1 else f"{made.dropped} specks"
        message = f"{entry.mask_ref} has {count} of fewer than {options.min_area_pixels} pixels, which get no box"
        yield _finding("WARNING_SMALL_COMPONENT", entry, message)
    if made.unmatched_pixels > MAX_UNMATCHED_SHARE * entry.width * entry.height:
        message = f"{made.unmatched_pixels} pixels of {entry.mask_ref} are of no class; complete its colour map"
        yield _finding("WARNING_UNMATCHED_PIXELS", entry, message)
    if not made.boxes:
        message = f"{entry.mask_ref} gives no box, so the image counts as having none; repair the mask if it should"
        yield _finding("WARNING_EMPTY_MASK", entry, message)


def _finding(code: str, entry: ImageEntry, message: str) -> Finding:
    return Finding(code=code, source_ref=entry.source_ref, message=message)


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
