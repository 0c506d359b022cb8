"""Folders in the format of YOLO, as tests write and read them."""

from tasks.annotations.annotated import StatedBox
from tasks.annotations.references import ReferenceResolver
from tasks.annotations.yolo import read_yolo

DATA = "train: images/train\nval: images/val\nnames: [crack, dent]\n"
BOX = StatedBox("crack", 0.375, 0.25, 0.25, 0.5, is_relative=True)
LINE = "0 0.5 0.5 0.25 0.5\n"


def lay(root, files):
    """Write files by reference; None makes an image that nobody opens."""
    for ref, text in files.items():
        path = root / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else (text or "").encode())
    return root


def read(root, data_yaml="data.yaml", rules=()):
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    return read_yolo(root / data_yaml, root, files, ReferenceResolver(root, files, rules))


def codes(reading):
    return [finding.code for finding in reading.findings]
