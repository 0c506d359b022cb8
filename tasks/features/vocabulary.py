"""Visual words in a file: `.npy`, named with its digest by whatever it belongs to."""

import hashlib
import io
from pathlib import Path

import numpy as np

from tasks.errors import BundleError
from tasks.features.keypoints import DESCRIPTOR_WIDTH, Vocabulary

VOCABULARY_FILE = "vocabulary.npy"
MAX_VOCABULARY_BYTES = 16 * 2**20


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> str:
    """Write the words into a folder; returns the SHA-256 of the file, hexadecimal."""
    stream = io.BytesIO()
    np.save(stream, vocabulary, allow_pickle=False)
    (folder / VOCABULARY_FILE).write_bytes(stream.getvalue())
    return hashlib.sha256(stream.getvalue()).hexdigest()


def read_vocabulary(folder: Path, sha256: str) -> Vocabulary:
    """Read the words of a folder, of which the digest is known; nothing is unpickled.

    Raises:
        BundleError: when the file is missing, too large, has another digest, or holds no words.
    """
    path = folder / VOCABULARY_FILE
    if not path.is_file():
        raise BundleError(f"{path} is missing from the bundle; fetch or register the model anew")
    if path.stat().st_size > MAX_VOCABULARY_BYTES:
        raise BundleError(f"{path} is larger than {MAX_VOCABULARY_BYTES} bytes; files of this size are not read")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BundleError(f"{path} does not have the digest that is known of it; fetch or register the model anew")
    try:
        words = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise BundleError(f"{path} is no array: {error}") from error
    if not _is_vocabulary(words):
        raise BundleError(f"{path} holds no visual words (W x {DESCRIPTOR_WIDTH} finite 32-bit floats)")
    return np.ascontiguousarray(words)


def _is_vocabulary(words: object) -> bool:
    return (
        isinstance(words, np.ndarray)
        and words.dtype == np.float32
        and words.shape[1:] == (DESCRIPTOR_WIDTH,)
        and bool(np.isfinite(words).all())
    )
