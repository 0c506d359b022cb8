"""What is true of one image: a set of labels and a list of boxes. Single-label is the case of one label."""

from dataclasses import dataclass

from tasks.vision.boxes import BoundingBox


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one image.

    `labels` is sorted and free of repetition; every box's label is among them. It is empty when no label fits, and
    when only boxes or a mask are known. `boxes` is None when nobody looked for any, and empty when there are none: only
    the latter is a true negative. `confidences` are the labels', 0 to 1 each; empty means 1.

    Raises:
        ValueError: when `labels` is unsorted or repeats, or lacks the label of a box, or when `confidences` are not
            one for each label.
    """

    labels: tuple[str, ...]
    boxes: tuple[BoundingBox, ...] | None = None
    confidences: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if tuple(sorted(set(self.labels))) != self.labels:
            raise ValueError(f"labels must be sorted and unique, found {self.labels}")
        if self.confidences and len(self.confidences) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels with {len(self.confidences)} confidences")
        strangers = {box.label for box in self.boxes or ()} - set(self.labels)
        if strangers:
            raise ValueError(f"boxes carry labels the image does not: {sorted(strangers)}")

    @property
    def stratum(self) -> str:
        """The key by which images are spread over splits: all labels of the image."""
        return " + ".join(self.labels)
