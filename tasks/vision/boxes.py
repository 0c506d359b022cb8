"""Bounding boxes in half-open pixel geometry: true ones and those a model found. No drawing, no files."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """A labelled box in pixels of its image, half-open: it covers `left <= x < left + width`.

    `confidence` is 0 to 1, of whoever drew it.

    Raises:
        ValueError: when the box is empty or starts left of or above the image.
    """

    label: str
    left: int
    top: int
    width: int
    height: int
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if self.left < 0 or self.top < 0:
            raise ValueError(f"box starts outside the image: left {self.left}, top {self.top}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"box is empty: width {self.width}, height {self.height}")

    @property
    def right(self) -> int:
        """First column right of the box."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """First row below the box."""
        return self.top + self.height


@dataclass(frozen=True, slots=True)
class DetectedBox:
    """A box that a model found: edges between pixels of its image, within the image, half-open.

    `confidence` is 0 to 1; `is_given` tells whether it reaches the threshold of the label.
    """

    label: str
    left: float
    top: float
    width: float
    height: float
    confidence: float
    is_given: bool

    @property
    def right(self) -> float:
        """Where the box ends, from the image's left edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Where the box ends, from the image's upper edge."""
        return self.top + self.height
