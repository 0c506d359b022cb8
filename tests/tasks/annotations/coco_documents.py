"""COCO documents that tests change and read."""

import json

from tasks.annotations.coco import read_coco
from tasks.annotations.references import ReferenceResolver

FILES = ("images/a.jpg", "images/b.jpg", "images/c.png")


def document(annotations=(), images=None, categories=None, **more):
    """Two images of 100 x 80 and the categories crack and dent, unless said otherwise."""
    return {
        "images": [image(1, "images/a.jpg"), image(2, "images/b.jpg")] if images is None else images,
        "annotations": list(annotations),
        "categories": [{"id": 3, "name": "crack"}, {"id": 90, "name": "dent"}] if categories is None else categories,
    } | more


def image(number, file_name, **more):
    return {"id": number, "file_name": file_name, "width": 100, "height": 80} | more


def annotation(**changes):
    """One good annotation; a value of ... takes a key away."""
    row = {"id": 4711, "image_id": 1, "category_id": 3, "bbox": [10, 20, 30, 40], "iscrowd": 0} | changes
    return {key: value for key, value in row.items() if value is not ...}


def read(folder, content, name="train.json", **options):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_coco(path, ReferenceResolver(folder, FILES), **({"base": ""} | options))


def codes(reading):
    return [finding.code for finding in reading.findings]
