"""One way to write and to open each format."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tasks.bundle.format import read_model_card
from tasks.bundle.predictor import Predictor
from tasks.bundle_export.calibration import choose_images, network_inputs
from tasks.bundle_export.documents import readme
from tasks.bundle_export.openvino_bundle import convert_bundle, open_openvino, require_openvino
from tasks.bundle_export.records import ExportedBundle, ExportFormat, ExportSource
from tasks.ground_truth.manifests import read_manifest

EXAMPLE = Path(__file__).with_name("standalone_predict.py")
EXAMPLE_FILE, README_FILE = "predict.py", "README.md"
_IMAGE_LIBRARIES = ("numpy", "opencv-python-headless", "pillow")
LIBRARIES: Mapping[ExportFormat, tuple[str, ...]] = {
    "onnx": (),
    "onnx-int8": (*_IMAGE_LIBRARIES, "onnx", "onnxruntime"),
    "openvino": ("openvino",),
}
"""Distributions whose versions shape the export's bytes."""


def require_format(format_name: ExportFormat) -> None:
    """See that what writes a format is installed.

    Raises:
        RequestError: when it is not.
    """
    if format_name == "openvino":
        require_openvino()


def write_export(folder: Path, source: ExportSource, format_name: ExportFormat) -> tuple[str, int]:
    """Write an export into a folder that is not there yet.

    Returns:
        The export's digest, and the number of training images its ranges were taken from.

    Raises:
        BundleError: when the registered bundle is damaged.
        SourceChanged: when a training image is not what the version learned from.
    """
    bundle = Path(source.bundle_path)
    made = _WRITERS[format_name](bundle, folder, source)
    engineered = read_model_card(bundle).features
    names = [step.name for step in engineered.steps] if engineered else []
    (folder / README_FILE).write_text(readme(source, format_name, names), encoding="utf-8")
    shutil.copyfile(EXAMPLE, folder / EXAMPLE_FILE)
    return made


def open_export(exported: ExportedBundle) -> Predictor:
    """Open an export as the predictor that everything else of Keeneye runs, its digests verified."""
    opener = open_openvino if exported.format == "openvino" else Predictor.open
    return opener(exported.folder, expected_digest=exported.digest)


def _copy(bundle: Path, folder: Path, source: ExportSource) -> tuple[str, int]:
    shutil.copytree(bundle, folder)
    read_model_card(folder, expected_digest=source.bundle_digest)
    return source.bundle_digest, 0


def _quantise(bundle: Path, folder: Path, source: ExportSource) -> tuple[str, int]:
    # onnx and its quantisation take a second to load; the other formats do without.
    from tasks.bundle_export.quantise import quantise_bundle

    chosen = choose_images(list(read_manifest(source.manifest.manifest_path("train"))))
    card, root = read_model_card(bundle), Path(source.manifest.roots["train"])
    return quantise_bundle(bundle, folder, lambda: network_inputs(card, root, chosen), len(chosen)), len(chosen)


def _convert(bundle: Path, folder: Path, source: ExportSource) -> tuple[str, int]:
    return convert_bundle(bundle, folder), 0


_WRITERS: Mapping[ExportFormat, Callable[[Path, Path, ExportSource], tuple[str, int]]] = {
    "onnx": _copy,
    "onnx-int8": _quantise,
    "openvino": _convert,
}
