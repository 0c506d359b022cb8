"""The two modes of validation: what the managed service accepts, and what Keeneye can use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Mode = Literal["open", "aws"]

UseCase = Literal["IMAGE_LEVEL_LABELS", "OBJECT_LOCALIZATION", "NOT_DETERMINED"]

UNLIMITED = 2**62
MAX_LABEL_CHARACTERS = 256
"""The managed service's limit on a label's length."""
MAX_SOURCE_REF_CHARACTERS = 4096
"""The longest path that Linux opens; a key in S3 is shorter still (1,024 bytes)."""
MAX_INVALID_SHARE = 0.2
MIN_LABEL_OVERLAP = 0.5
MIN_IMAGES_PER_LABEL_FOR_SPLIT = 2
"""The guide gives no number; with fewer, a label is missing on one side of every split."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one mode accepts (Custom Labels developer guide, "Guidelines and quotas").

    Attributes:
        mode: whose limits these are.
        is_strict: references are `s3://bucket/key`, metadata is complete, coordinates are whole numbers, and images
            without boxes are passed over.
        max_line_bytes: what is read of a line at most; a longer one is passed over unread.
        max_line_characters: of a line that is accepted.
        max_boxes: per image.
        max_image_labels: image-level labels per image.
        scaled_side: an image is thought downscaled (never enlarged) until no side exceeds this many pixels ...
        min_box_side: ... and then both sides of a box must exceed this many pixels.
        image_sides: smallest and largest side, pixels.
        max_aspect: longer side divided by the shorter one.
        max_manifest_bytes: of a manifest file.
        max_manifest_lines: of a manifest file.
        label_counts: smallest and largest number of different labels in a manifest, by use case.
    """

    mode: Mode
    is_strict: bool
    max_line_bytes: int
    max_line_characters: int
    max_boxes: int
    max_image_labels: int
    scaled_side: int
    min_box_side: float
    image_sides: tuple[int, int]
    max_aspect: float
    max_manifest_bytes: int
    max_manifest_lines: int
    label_counts: Mapping[UseCase, tuple[int, int]]


LIMITS: dict[Mode, Limits] = {
    "aws": Limits(
        mode="aws",
        is_strict=True,
        max_line_bytes=400_000,  # 100,000 characters of four bytes each
        max_line_characters=100_000,
        max_boxes=50,
        max_image_labels=50,
        scaled_side=1280,
        min_box_side=1.0,
        image_sides=(64, 4096),
        max_aspect=20.0,
        max_manifest_bytes=1_000_000_000,
        max_manifest_lines=250_000,
        label_counts={"IMAGE_LEVEL_LABELS": (2, 250), "OBJECT_LOCALIZATION": (1, 250), "NOT_DETERMINED": (1, 250)},
    ),
    "open": Limits(
        mode="open",
        is_strict=False,
        max_line_bytes=10_000_000,
        max_line_characters=10_000_000,
        max_boxes=UNLIMITED,
        max_image_labels=UNLIMITED,
        scaled_side=UNLIMITED,
        min_box_side=0.0,
        image_sides=(1, UNLIMITED),
        max_aspect=float("inf"),
        max_manifest_bytes=UNLIMITED,
        max_manifest_lines=UNLIMITED,
        label_counts={
            "IMAGE_LEVEL_LABELS": (1, UNLIMITED),
            "OBJECT_LOCALIZATION": (1, UNLIMITED),
            "NOT_DETERMINED": (1, UNLIMITED),
        },
    ),
}
