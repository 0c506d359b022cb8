"""What is true of one image: a set of labels and a list of boxes. Single-label is the case of one label."""

from dataclasses import dataclass

from tasks.vision.boxes import BoundingBox


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth of one image.

    `labels` is sorted and free of repetition; every box's label is among them.

    Raises:
        ValueError: when `labels` is unsorted or repeats, or lacks the label of a box.
    """

    labels: tuple[str, ...]
    boxes: tuple[BoundingBox, ...] = ()

    def __post_init__(self) -> None:
        if tuple(sorted(set(self.labels))) != self.labels:
            raise ValueError(f"labels must be sorted and unique, found {self.labels}")
        strangers = {box.label for box in self.boxes} - set(self.labels)
        if strangers:
            raise ValueError(f"boxes carry labels the image does not: {sorted(strangers)}")

    @property
    def stratum(self) -> str:
        """The key by which images are spread over splits: all labels of the image."""
        return " + ".join(self.labels)
