"""What a format of images and boxes cannot hold of a dataset, counted kind by kind."""

from collections import Counter
from collections.abc import Collection, Iterator

from tasks.dataset.entries import ImageEntry
from tasks.dataset.findings import Finding


def losses_of(entry: ImageEntry, labels: Collection[str]) -> Iterator[str]:
    """Yield what of an entry is lost where there is room for an image and the boxes of `labels` only.

    Confidences of boxes and dates are not looked at, as formats differ there. An entry whose boxes are None is to be
    left out by the writer: listed, it would read as an image without objects.
    """
    truth = entry.truth
    boxes = truth.boxes
    if boxes is None:
        yield "are left out, as nothing is known of boxes in them"
        return
    if set(truth.labels) - {box.label for box in boxes}:
        yield "lose image-level labels that none of their boxes has"
    if any(box.label not in labels for box in boxes):
        yield "lose boxes, whose labels are not among those written"
    if any(confidence != 1.0 for confidence in truth.confidences):
        yield "lose the confidences of their image-level labels"
    if entry.group not in ("", entry.sha256):
        yield "lose their group"
    if entry.job_name:
        yield "lose the name of their labelling job"
    if not entry.is_human:
        yield "lose the note that no person confirmed them"
    if entry.mask_ref:
        yield "lose their mask"


def loss_findings(counts: Counter[str], format_name: str, source_ref: str) -> list[Finding]:
    """Return one finding for each kind of loss, with the number of images, in the order of the kinds."""
    return [
        Finding(
            code="WARNING_NOT_IN_FORMAT",
            source_ref=source_ref,
            message=f"{count} images {kind}: {format_name} has no room for it; Ground Truth manifests keep it",
        )
        for kind, count in sorted(counts.items())
    ]
