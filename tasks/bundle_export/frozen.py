"""The images that a version learned from and was measured on, as they were then."""

from pathlib import Path

from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.vision.images import RgbImage, decode_rgb


def decode_frozen(root: Path, entry: ImageEntry) -> RgbImage:
    """Return an entry's pixels.

    Raises:
        SourceChanged: when the file is gone, or its bytes are not those that the version was made with.
    """
    try:
        return decode_rgb(read_image_bytes(root, entry))
    except SourceChanged as error:
        raise SourceChanged(
            f"{root / entry.source_ref} is not what this version was made with (it is gone, or its bytes changed); "
            "put it back, or train again and export the new version"
        ) from error
