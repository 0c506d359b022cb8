"""Folders in the format of Pascal VOC, as tests write and read them."""

from tasks.annotations.references import ReferenceResolver
from tasks.annotations.voc import find_voc, read_image_sets, read_voc


def put(root, files):
    for ref, text in files.items():
        path = root / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def read(root, files):
    put(root, files)
    refs = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    resolver = ReferenceResolver(root, refs)
    return read_voc(find_voc(refs), root, resolver, read_image_sets(root, refs))
