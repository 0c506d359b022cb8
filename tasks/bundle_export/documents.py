"""What people read of an export: the README in its folder, and the table."""

from collections.abc import Sequence

from tasks.bundle.format import MODEL_FILE, TASKS_WITH_BOXES
from tasks.bundle_export.openvino_bundle import CARD_FILE
from tasks.bundle_export.records import Comparison, ExportFormat, ExportReport, ExportSource

PACKAGES: dict[ExportFormat, str] = {
    "onnx": "onnxruntime",
    "onnx-int8": "onnxruntime",
    "openvino": "openvino",
}
CARDS: dict[ExportFormat, str] = {"onnx": MODEL_FILE, "onnx-int8": MODEL_FILE, "openvino": CARD_FILE}
WORDS: dict[ExportFormat, str] = {
    "onnx": "the bundle as it was registered, in single precision",
    "onnx-int8": "a bundle with 8-bit networks, their ranges taken from training images",
    "openvino": "the networks as OpenVINO's intermediate representation, in single precision",
}


def readme(source: ExportSource, format_name: ExportFormat, features: Sequence[str] = ()) -> str:
    """Return the README of an exported folder; equal sources give equal texts.

    Args:
        source: what was exported.
        format_name: as what.
        features: names of the engineered features that the model sees.
    """
    parts = [
        f"# {source.model_name}, version {source.model_version}, as {format_name}",
        f"This is {WORDS[format_name]}. It recognises {', '.join(source.manifest.labels)} ({source.manifest.task}).",
        *_how_to_run(format_name, features),
        f"`{CARDS[format_name]}` tells labels, thresholds, preprocessing and the digest of every file; `predict.py` "
        "shows how they are used, and may be changed at will. `export.md` compares this export with the registered "
        "version on its test images, measured on the machine that made it.",
    ]
    if format_name != "openvino":
        parts.append(
            "With Keeneye the folder opens as any bundle:\n\n"
            "    from tasks.bundle.predictor import Predictor\n"
            '    Predictor.open(Path("this folder")).predict_bytes([photo])'
        )
    if format_name == "onnx-int8":
        parts.append(
            "Processors without instructions for 8-bit products (VNNI) are slower with it and may round differently: "
            "compare there before you rely on the figures."
        )
    return "\n\n".join(parts) + "\n"


def _how_to_run(format_name: ExportFormat, features: Sequence[str]) -> tuple[str, ...]:
    if features:
        return (
            f"It sees engineered features ({', '.join(features)}), which Keeneye computes: `predict.py`, which runs "
            "other models without Keeneye, cannot run this one.",
        )
    return (
        "Run it without Keeneye:",
        f"    pip install numpy pillow opencv-python-headless {PACKAGES[format_name]}\n    python predict.py photo.jpg",
    )


def rows(comparison: Comparison, format_name: str) -> list[dict[str, str | float]]:
    """Return the table: registered bundle, export, and the change from the one to the other."""
    name = comparison.metric_name
    before, after = comparison.original, comparison.exported
    table: list[dict[str, str | float]] = [
        {"format": title, "MB": one.megabytes, "ms per image": one.milliseconds, name: round(one.metric, 4)}
        for title, one in (("registered", before), (format_name, after))
    ]
    change: dict[str, str | float] = {
        "format": "change",
        "MB": _percent(before.megabytes, after.megabytes),
        "ms per image": _percent(before.milliseconds, after.milliseconds),
        name: f"{0.0 - comparison.metric_loss:+.4f}",
    }
    return [*table, change]


def markdown(report: ExportReport, comparison: Comparison) -> str:
    """Return the table with what stands behind it."""
    table = rows(comparison, report.format)
    head = " | ".join(table[0])
    lines = [
        f"| {head} |",
        "|" + "---|" * len(table[0]),
        *(f"| {' | '.join(map(str, row.values()))} |" for row in table),
    ]
    parity = report.parity
    boxes = (
        f", an edge by at most {parity.edge_difference_pixels:.2g} pixels; {parity.unmatched_boxes} boxes were found "
        f"by one of the two only, {parity.unmatched_given_boxes} of them reach their label's threshold"
        if report.task in TASKS_WITH_BOXES
        else ""
    )
    parts = [
        f"# {report.model_name}, version {report.model_version}, as {report.format}: {report.status}",
        "\n".join(lines),
        f"On {parity.images} test images of {report.dataset_name}, version {report.dataset_digest[:12]}: a confidence "
        f"differs by at most {parity.confidence_difference:.2g}, in the mean by {parity.mean_confidence_difference:.2g}"
        f"{boxes}. The gate {'passed' if report.gate.passed else 'failed'}; a loss of {report.max_metric_loss:g} is "
        "allowed. Times are of this machine: one image at a time, framed already, the best of several rounds.",
        *(f"- {reason}" for reason in report.reasons),
    ]
    return "\n\n".join(parts) + "\n"


def _percent(before: float, after: float) -> str:
    return f"{100 * (after / before - 1):+.0f} %" if before else "0 %"
