"""Predict images with an exported Keeneye model: `python predict.py IMAGE [IMAGE ...]`, one line of JSON for each.

Needs numpy, Pillow, opencv-python-headless and onnxruntime, or openvino instead of the last for that format; nothing
of Keeneye. Meant to be read and changed. Confidences are 0 to 1, boxes in pixels of the image; a label or box is given
when its confidence reaches the label's threshold. Neither 16-bit grey images nor models that see engineered features
are understood here.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent
PADDING_COLOUR = (124, 116, 104)
Network = Callable[[np.ndarray], dict[str, np.ndarray]]


def main(paths: list[str]) -> None:
    """Print the answer for each image."""
    card, networks = load()
    for path in paths:
        image = read_rgb(path)
        predict = {"classification": classify, "detection": detect, "anomaly": find_anomalies}[card["task"]]
        sys.stdout.write(json.dumps({"image": path, **predict(card, networks, image)}, ensure_ascii=False) + "\n")


def load() -> tuple[dict[str, Any], dict[str, Network]]:
    """Return the model card and its networks by role."""
    for_openvino = FOLDER / "openvino.json"
    if for_openvino.exists():
        export = json.loads(for_openvino.read_text(encoding="utf-8"))
        return export["model"], {role: openvino_network(one["graph"]) for role, one in export["networks"].items()}
    card = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
    return card, {role: onnx_network(one["file"]) for role, one in card["networks"].items()}


def onnx_network(file: str) -> Network:
    """Open an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(FOLDER / file), providers=["CPUExecutionProvider"])
    name, outputs = session.get_inputs()[0].name, [one.name for one in session.get_outputs()]
    return lambda batch: dict(zip(outputs, session.run(outputs, {name: batch}), strict=True))


def openvino_network(file: str) -> Network:
    """Open an OpenVINO graph; f32, for a processor with 16-bit units would use them unasked."""
    import openvino

    compiled = openvino.Core().compile_model(str(FOLDER / file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = [one.any_name for one in compiled.outputs]
    return lambda batch: dict(zip(outputs, compiled([batch]).values(), strict=True))


def read_rgb(path: str) -> np.ndarray:
    """Read an image upright, as height x width x 3; transparent pixels show white."""
    image: Image.Image = ImageOps.exif_transpose(Image.open(path))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def stretch(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize: areas are averaged when the image shrinks, interpolated when it grows."""
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def content_size(image: np.ndarray, size: int) -> list[int]:
    """Return the width and height that an image takes of a square of `size` pixels."""
    height, width = image.shape[:2]
    return [max(1, round(side * (size / max(width, height)))) for side in (width, height)]


def pad(image: np.ndarray, size: int) -> np.ndarray:
    """Fit an image into a square without distortion, at its upper left corner."""
    width, height = content_size(image, size)
    padded = np.full((size, size, 3), PADDING_COLOUR, np.uint8)
    padded[:height, :width] = stretch(image, width, height)
    return padded


def adjust(card: dict[str, Any], image: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Crop, denoise and so on, as the card says; returns the image, and where its upper left corner was."""
    corner = [0, 0]
    for step in card["steps"][:-2]:
        if step["name"] == "crop":
            (left, right), (top, bottom) = (
                kept(step[start], step[extent], pixels)
                for start, extent, pixels in (("left", "width", image.shape[1]), ("top", "height", image.shape[0]))
            )
            image, corner = image[top:bottom, left:right], [corner[0] + left, corner[1] + top]
        elif step["name"] == "denoise":
            image = np.asarray(cv2.medianBlur(image, step["diameter"]))
        elif step["name"] == "clahe":
            lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
            lab[..., 0] = cv2.createCLAHE(step["clip_limit"], (step["tiles"], step["tiles"])).apply(lab[..., 0])
            image = np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))
        elif step["name"] == "grey":
            image = np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[:, :, None], 3, axis=2)
        else:
            raise SystemExit(f"this script does not know the step {step['name']!r} of model.json")
    return image, corner


def kept(start: float, extent: float, pixels: int) -> tuple[int, int]:
    """Return the first pixel that a crop keeps, and the one behind the last."""
    first = min(round(start * pixels), pixels - 1)
    return first, min(pixels, max(first + 1, round((start + extent) * pixels)))


def normalise(card: dict[str, Any], framed: np.ndarray) -> np.ndarray:
    """Return 1 x 3 x height x width, single precision."""
    step = card["steps"][-1]
    mean, deviation = (np.asarray(step[name], np.float32) for name in ("mean", "standard_deviation"))
    scaled = framed * (1 / (255 * deviation)) - mean / deviation
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def classify(card: dict[str, Any], networks: dict[str, Network], image: np.ndarray) -> dict[str, Any]:
    """Return every label's confidence, the surest first, and the labels given."""
    if "features" in card:
        names = ", ".join(step["name"] for step in card["features"]["steps"])
        raise SystemExit(f"this script does not compute engineered features ({names}): open the folder with Keeneye")
    framed, step = adjust(card, image)[0], card["steps"][-2]
    is_padded = step["name"] == "letterbox"
    framed = pad(framed, step["size"]) if is_padded else stretch(framed, step["width"], step["height"])
    values = normalise(card, framed)
    for role in ("network",) if "network" in networks else ("backbone", "head"):
        values = list(networks[role](values).values())[-1]
    probabilities = values[0]
    found = sorted(zip(card["labels"], probabilities.tolist(), strict=True), key=lambda pair: -pair[1])
    given = [label for label, confidence in found if confidence >= card["thresholds"][label]]
    return {"labels": given, "confidences": dict(found)}


def find_anomalies(card: dict[str, Any], networks: dict[str, Network], image: np.ndarray) -> dict[str, Any]:
    """Return how sure an anomaly is, and the boxes around hot regions, the hottest first."""
    image, corner = adjust(card, image)
    step, scoring, label = card["steps"][-2], card["scoring"], card["labels"][0]
    patches = list(networks["backbone"](normalise(card, stretch(image, step["width"], step["height"]))).values())[-1][0]
    distances = list(networks["memory"](patches.reshape(-1, patches.shape[-1])).values())[-1]
    grid, blur = distances.reshape(patches.shape[:2]), scoring["smoothing_cells"]
    heat = np.asarray(cv2.GaussianBlur(grid, (0, 0), blur, borderType=cv2.BORDER_REPLICATE))
    hottest = np.sort(heat, axis=None)[-max(1, round(scoring["top_share"] * heat.size)) :]
    # A logistic function of the logarithm, one half at the limit.
    exponent = scoring["steepness"] * (math.log(scoring["limit"]) - math.log(max(float(hottest.mean()), 1e-300)))
    confidence = 1 / (1 + math.exp(min(exponent, 700)))
    is_given = confidence >= card["thresholds"][label]
    rows, columns = (8 * cells for cells in heat.shape)
    fine = cv2.resize(heat, (columns, rows), interpolation=cv2.INTER_LINEAR)
    _, regions, corners, _ = cv2.connectedComponentsWithStats((fine >= scoring["region_limit"]).astype(np.uint8))
    across, down = image.shape[1] / columns, image.shape[0] / rows
    boxes = []
    for region in sorted(range(1, len(corners)), key=lambda one: -fine[regions == one].max())[: scoring["max_boxes"]]:
        left, top, width, height = corners[region][:4].tolist()
        place = {"left": corner[0] + left * across, "top": corner[1] + top * down}
        box = {"label": label, **place, "width": width * across, "height": height * down}
        boxes.append({**box, "confidence": confidence, "is_given": is_given})
    return {"labels": [label] * is_given, "confidences": {label: confidence}, "boxes": boxes}


def detect(card: dict[str, Any], networks: dict[str, Network], image: np.ndarray) -> dict[str, Any]:
    """Return the boxes, the surest first."""
    image, corner = adjust(card, image)
    (height, width), size = image.shape[:2], card["steps"][-2]["size"]
    content, framed = content_size(image, size), pad(image, size)
    outputs = {name: values[0] for name, values in networks["detector"](normalise(card, framed)).items()}
    edges, scores, labels = decode(outputs, card["decoding"], size, content)
    edges = np.minimum(edges * ([width / content[0], height / content[1]] * 2), (width, height) * 2) + corner * 2
    boxes = []
    for place, members in suppress(edges, scores, labels, card["decoding"]).items():
        merged = merge(edges[members], scores[members], card["decoding"])
        label, (left, top, right, bottom) = card["labels"][labels[place]], merged.tolist()
        box = {"label": label, "left": left, "top": top, "width": right - left, "height": bottom - top}
        confidence = float(scores[place])
        boxes.append({**box, "confidence": confidence, "is_given": confidence >= card["thresholds"][label]})
    return {"boxes": boxes}


def decode(outputs: dict[str, np.ndarray], decoding: dict[str, Any], size: int, content: list[int]) -> tuple[Any, ...]:
    """Return edges (K x 4, in pixels of the input), scores and label places of all candidates (FCOS)."""
    parts, start = [], 0
    for stride in decoding["strides"]:
        columns = size // stride
        level = {name: values[start : start + columns**2] for name, values in outputs.items()}
        start += columns**2
        weight = decoding["centreness_weight"]
        scores = sigmoid(level["class_logits"]) ** (1 - weight) * sigmoid(level["centreness"]) ** weight
        best = np.argsort(-scores, axis=None, kind="stable")[: decoding["candidates_per_level"]]
        best = best[scores.ravel()[best] > decoding["score_floor"]]
        location, label = np.divmod(best, scores.shape[1])
        row, column = np.divmod(location, columns)
        point = np.stack([column, row], axis=1) * stride
        reach = level["box_regression"][location] * stride
        edges = np.clip(np.hstack([point - reach[:, :2], point + reach[:, 2:]]), 0, content * 2)
        seen = ((edges[:, 2:] - edges[:, :2]) >= 1e-3).all(axis=1)
        parts.append((edges[seen], scores.ravel()[best][seen], label[seen]))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def suppress(
    edges: np.ndarray, scores: np.ndarray, labels: np.ndarray, decoding: dict[str, Any]
) -> dict[int, list[int]]:
    """Return the places of the boxes that stay, the surest first, each with itself and those that go for it."""
    kept: dict[int, list[int]] = {}
    for place in np.argsort(-scores, kind="stable").tolist():
        rivals = [other for other in kept if labels[other] == labels[place]]
        surer = [other for other in rivals if overlap(edges[place], edges[other]) > decoding["nms_iou"]]
        if surer:
            kept[surer[0]].append(place)
        elif len(kept) < decoding["max_boxes"]:
            kept[place] = [place]
    return kept


def merge(edges: np.ndarray, scores: np.ndarray, decoding: dict[str, Any]) -> np.ndarray:
    """Return the mean of boxes that overlap, weighted by their scores, or the surest where none is asked for."""
    power = decoding.get("merge_power")
    return edges[0] if power is None else np.average(edges, axis=0, weights=scores.astype(float) ** power)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    width, height = np.maximum(0, np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return float(width * height) / (sum(areas) - float(width * height))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-logits))."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-logits)))


if __name__ == "__main__":
    main(sys.argv[1:])
