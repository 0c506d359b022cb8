"""One image of a dataset, and the index files that hold many: what ingest hands to the manifest stage."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter

from tasks.dataset.truth import Truth
from tasks.vision.masks import MaskClass

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image that passed the checks, with its truth.

    Attributes:
        source_ref: path relative to the dataset's root, with forward slashes.
        sha256: digest of the file's bytes, hexadecimal.
        width: pixels, upright (after EXIF rotation).
        height: pixels, upright.
        truth: labels and boxes.
        mask_ref: the mask's path relative to the root; empty without one.
        given_split: the split that the source itself names; empty without one.
        group: images of one group never part. At ingest what the source names, empty without; then the content
            digest, unless grouped otherwise.
        mask_classes: which pixels of the mask are of which class.
        mask_sha256: digest of the mask file's bytes, hexadecimal; empty without one.
        creation_date: of the annotation, as ISO 8601 UTC without zone; empty when the source does not say.
        job_name: the labelling job; empty when the source does not say.
        is_human: drawn or confirmed by a person.
    """

    source_ref: str
    sha256: str
    width: int
    height: int
    truth: Truth
    mask_ref: str = ""
    given_split: Split | Literal[""] = ""
    group: str = ""
    mask_classes: tuple[MaskClass, ...] = ()
    mask_sha256: str = ""
    creation_date: str = ""
    job_name: str = ""
    is_human: bool = True

    @property
    def unit(self) -> str:
        """What no division parts: the image's group, or the image itself."""
        return self.group or self.sha256

    @property
    def is_negative(self) -> bool:
        """Whether it is known that no label fits; a mask that is not yet boxes may show what does."""
        return not self.truth.labels and (self.truth.boxes is not None or not self.mask_ref)


_ENTRY = TypeAdapter(ImageEntry)


def write_index(path: Path, entries: Iterable[ImageEntry]) -> None:
    """Write entries as JSON Lines."""
    with path.open("wb") as stream:
        for entry in entries:
            stream.write(_ENTRY.dump_json(entry) + b"\n")


def read_index(path: Path) -> Iterator[ImageEntry]:
    """Yield what `write_index` wrote, one line at a time."""
    with path.open("rb") as stream:
        for line in stream:
            yield _ENTRY.validate_json(line)
