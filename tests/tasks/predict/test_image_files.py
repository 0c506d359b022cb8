"""Image files as they are found: read within bounds, large ones one at a time."""

import os
import threading
import time

import numpy as np
import pytest

from tasks.errors import SourceChanged
from tasks.predict import image_files
from tasks.predict.image_files import ReadLimits, decode_and_shrink, frame_file, hash_file, read_image_file
from tasks.vision.images import ImageError
from tests.makers import png_bytes
from tests.tasks.predict.predicting import paint, sha256_of

LIMITS = ReadLimits(max_megapixels=100.0, max_file_megabytes=0.01)


def test_whole_files_are_read(tmp_path):
    path = paint(tmp_path / "a b.png", "red")
    assert read_image_file(tmp_path, "a b.png", LIMITS) == path.read_bytes()
    assert hash_file(tmp_path, "a b.png", LIMITS).content == sha256_of(path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: path.write_bytes(bytes(10_001)), id="too large"),
        pytest.param(lambda path: path.write_bytes(b"other"), id="other bytes"),
    ],
)
def test_file_that_changes_after_it_was_hashed_is_no_finding(tmp_path, change):
    """It would be kept under what the file held before."""
    path = paint(tmp_path / "a.png", "red")
    hashed = hash_file(tmp_path, "a.png", LIMITS)
    change(path)
    with pytest.raises(SourceChanged, match=r"a\.png changed while it was read"):
        frame_file(tmp_path, hashed, LIMITS, predictor=None)


def test_file_that_was_never_there_is_a_finding(tmp_path):
    finding = frame_file(tmp_path, hash_file(tmp_path, "gone.png", LIMITS), LIMITS, predictor=None)
    assert (finding.code, finding.source_ref) == ("ERROR_UNREADABLE_FILE", "gone.png")


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        pytest.param("gone.png", "ERROR_UNREADABLE_FILE", id="missing"),
        pytest.param("folder", "ERROR_UNREADABLE_FILE", id="folder"),
        pytest.param("pipe.png", "ERROR_UNREADABLE_FILE", id="pipe", marks=pytest.mark.timeout(60)),
        pytest.param("large.png", "ERROR_FILE_TOO_LARGE", id="large"),
        pytest.param("link.png", "ERROR_OUTSIDE_SOURCE", id="link"),
        pytest.param("../secret.png", "ERROR_OUTSIDE_SOURCE", id="parent"),
        pytest.param("/etc/passwd", "ERROR_OUTSIDE_SOURCE", id="absolute"),
        pytest.param("a\0b.png", "ERROR_UNREADABLE_FILE", id="null"),
        pytest.param("x" * 300, "ERROR_UNREADABLE_FILE", id="long"),
    ],
)
def test_files_that_are_not_read(tmp_path, reference, code):
    root = tmp_path / "photos"
    (root / "folder").mkdir(parents=True)
    os.mkfifo(root / "pipe.png")
    paint(tmp_path / "secret.png", "red")
    (root / "large.png").write_bytes(bytes(10_001))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ImageError) as refused:
        read_image_file(root, reference, LIMITS)
    assert refused.value.code == code
    assert hash_file(root, reference, LIMITS).content == code


@pytest.mark.parametrize(("megapixels", "together"), [(0.5, 3), (2.0, 1)])
def test_large_images_are_decoded_one_at_a_time(monkeypatch, megapixels, together):
    monkeypatch.setattr(image_files, "LARGE_MEGAPIXELS", 1.0)
    data = png_bytes(np.zeros((1000, int(megapixels * 1000), 3), np.uint8))
    running, most, lock = 0, 0, threading.Lock()

    def shrink(image):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.2)
        with lock:
            running -= 1
        return image.shape

    found = []
    threads = [threading.Thread(target=lambda: found.append(decode_and_shrink(data, LIMITS, shrink))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(1000, megapixels * 1000, 3)] * 3
    assert most == together
