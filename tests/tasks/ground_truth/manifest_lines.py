"""Lines of manifests in the shapes of the specification, for tests."""

import json

from tasks.ground_truth.lines import parse_line

ABOUT = {
    "human-annotated": "yes",
    "creation-date": "2018-10-18T22:18:13.527256",
    "job-name": "labeling-job/bolts",
}
CLASSIFICATION = {"type": "groundtruth/image-classification", "confidence": 0.9, **ABOUT}
MODES = ("aws", "open")


def single(attribute="species", value=0, label="dog", **changes):
    metadata = CLASSIFICATION | {"class-name": label} | changes
    return {attribute: value, f"{attribute}-metadata": metadata}


def boxes(*stated, attribute="bolts", size=(640, 480), classes=None, **changes):
    """Each box is class_id, left, top, width, height."""
    keys = ("class_id", "left", "top", "width", "height")
    metadata = {
        "objects": [{"confidence": 0.8}] * len(stated),
        "class-map": {"0": "dog", "5": "bone"} if classes is None else classes,
        "type": "groundtruth/object-detection",
        **ABOUT,
    }
    return {
        attribute: {
            "image_size": [{"width": size[0], "height": size[1], "depth": 3}],
            "annotations": [dict(zip(keys, box, strict=True)) for box in stated],
        },
        f"{attribute}-metadata": metadata | changes,
    }


def line(*parts, ref="s3://bucket/images/k.jpg"):
    whole = {"source-ref": ref}
    for part in parts:
        whole |= part
    return whole


def parse(value, mode="open"):
    return parse_line(json.dumps(value).encode(), mode)


def codes(parsed):
    return [problem.code for problem in parsed.problems]


def label_list(**changes):
    metadata = {
        "class-map": {"1": "bicycle", "0": "car", "8": "tree"},
        "confidence-map": {"1": 0.95, "0": 0.8, "8": 0.2},
        "type": "groundtruth/image-classification-multilabel",
        **ABOUT,
    }
    return {"things": [1, 0, 8], "things-metadata": metadata | changes}


def mask(colours, attribute="defect-ref"):
    metadata = {"internal-color-map": colours, "type": "groundtruth/semantic-segmentation", **ABOUT}
    return {attribute: "s3://bucket/mask.png", f"{attribute}-metadata": metadata}


BACKGROUND = {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.9}
