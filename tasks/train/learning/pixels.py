"""Images as networks take them: framed once, kept on disk, mapped into memory."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasks.bundle.preprocessing import Normalise, Steps, frame
from tasks.dataset.entries import ImageEntry
from tasks.dataset.files import read_image_bytes
from tasks.vision.images import decode_rgb

DECODERS = 2


def frame_images(
    path: Path,
    root: Path,
    entries: Sequence[ImageEntry],
    steps: Steps,
    shape: tuple[int, int],
    report: Callable[[int, int], None],
) -> NDArray[np.uint8]:
    """Frame images into one file that is mapped into memory, so that a set larger than the memory can be learned.

    Args:
        path: the `.npy` file to write; none is written when there are no images.
        root: folder to which references are relative.
        entries: images.
        steps: preprocessing.
        shape: height and width of the network's input (pixels).
        report: called with the images done and their number; what it raises ends the work at once.

    Returns:
        N x height x width x 3, 8 bits, RGB, not yet normalised.

    Raises:
        SourceChanged: when a file's bytes are not those that were checked at ingest.
    """
    if not entries:
        return np.zeros((0, *shape, 3), np.uint8)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(entries), *shape, 3))
    with path.open("r+b") as stream:
        # On a full disk, writing to a mapped file that has holes would end the process without a word.
        os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    with ThreadPoolExecutor(DECODERS) as pool:
        images = pool.map(lambda entry: frame(decode_rgb(read_image_bytes(root, entry)), steps), entries)
        try:
            for done, image in enumerate(images, start=1):
                pixels[done - 1] = image
                report(done, len(entries))
        except BaseException:
            # The pool would decode all that wait before it lets go, minutes after the time was over.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return pixels


def to_batch(pixels: NDArray[np.uint8], normalise: Normalise, device: str) -> Tensor:
    """Normalise framed images (N x S x S x 3) for a network: N x 3 x S x S on a device."""
    batch = torch.from_numpy(normalise.apply_to_batch(pixels)).to(device)
    return batch.contiguous(memory_format=torch.channels_last)


def stack_changed(images: Sequence[Tensor], normalise: Normalise, device: str) -> Tensor:
    """Normalise changed images (each 3 x S x S, 8 bits) for a network: N x 3 x S x S on a device."""
    return to_batch(torch.stack(list(images)).permute(0, 2, 3, 1).numpy(), normalise, device)
