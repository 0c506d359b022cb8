"""A bundle as OpenVINO's intermediate representation, and the predictor over it.

The folder holds `openvino.json` and, for each network, `NAME.xml` (the graph) and `NAME.bin` (its weights), both with
their digests in `openvino.json`, whose own digest stands for the export. Numbers stay in single precision: weights of
16 bits would halve the files, and moved a demo model's confidences by 0.007, far beyond the limit of a float export.
"""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from tasks.bundle.engineered import read_features
from tasks.bundle.format import ModelCard, Role, file_sha256, read_model_card
from tasks.bundle.predictor import OnnxNetwork, Outputs, Predictor
from tasks.errors import BundleError, RequestError
from tasks.features.vocabulary import VOCABULARY_FILE

CARD_FILE = "openvino.json"
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}
"""A processor with units for 16-bit floats would use them unasked, and answer something else."""


class IrNetwork(BaseModel, frozen=True, extra="forbid"):
    """One network: the graph and its weights."""

    graph: str = Field(pattern=r"^[a-z0-9_-]+\.xml$")
    graph_sha256: str
    weights: str = Field(pattern=r"^[a-z0-9_-]+\.bin$")
    weights_sha256: str


class OpenVinoCard(BaseModel, frozen=True, extra="forbid"):
    """The content of `openvino.json`.

    Attributes:
        model: the `model.json` it was made of, whose `networks` name ONNX files that are not here.
        networks: by role, instead of those.
        made_with: OpenVINO's version.
    """

    schema_version: Literal[1] = 1
    model: ModelCard
    networks: dict[Role, IrNetwork]
    made_with: str


class OpenVinoNetwork:
    """A graph with one input and one or more outputs, run by OpenVINO; answers as `OnnxNetwork` does."""

    def __init__(self, graph: Path) -> None:
        import openvino

        core = openvino.Core()
        try:
            compiled = core.compile_model(core.read_model(graph), "CPU", SETTINGS)
        except RuntimeError as error:
            raise BundleError(f"OpenVINO refuses the network {graph}: {error}") from error
        self._request = compiled.create_infer_request()
        self._outputs = [output.any_name for output in compiled.outputs]

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch; returns the last output."""
        return self.run_all(batch)[self._outputs[-1]]

    def run_all(self, batch: NDArray[np.float32]) -> Outputs:
        """Run one batch; returns all outputs by name, in the graph's order."""
        answers = self._request.infer([batch]).values()
        return {name: np.asarray(values, np.float32) for name, values in zip(self._outputs, answers, strict=True)}


def require_openvino() -> None:
    """See that OpenVINO is installed.

    Raises:
        RequestError: when it is not.
    """
    if importlib.util.find_spec("openvino") is None:
        raise RequestError(
            "the format openvino needs the package openvino, which is not installed; install keeneye[openvino], or "
            "choose --format onnx"
        )


def convert_bundle(bundle: Path, folder: Path) -> str:
    """Write a bundle's networks for OpenVINO into an empty folder; returns the digest of the export.

    Equal bundles give equal bytes with the same version of OpenVINO.

    Raises:
        RequestError: when OpenVINO is not installed.
    """
    require_openvino()
    import openvino

    card = read_model_card(bundle)
    folder.mkdir(parents=True, exist_ok=True)
    networks = {role: _convert(role, bundle / network.file, folder) for role, network in card.networks.items()}
    if card.features and card.features.vocabulary:
        shutil.copyfile(bundle / VOCABULARY_FILE, folder / VOCABULARY_FILE)
    made = OpenVinoCard(model=card, networks=networks, made_with=f"openvino {openvino.__version__}")
    text = json.dumps(made.model_dump(mode="json", exclude_none=True), indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")
    return file_sha256(folder / CARD_FILE)


def open_openvino(folder: Path, *, expected_digest: str = "") -> Predictor:
    """Load an export for OpenVINO, verifying all digests.

    Raises:
        BundleError: when a file is missing or changed, or `openvino.json` is not of this format.
    """
    path = folder / CARD_FILE
    try:
        card = OpenVinoCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} cannot be read as an export for OpenVINO; export the model anew") from error
    digests = {CARD_FILE: expected_digest or file_sha256(path)}
    for network in card.networks.values():
        digests |= {network.graph: network.graph_sha256, network.weights: network.weights_sha256}
    for name, digest in digests.items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            raise BundleError(f"{folder / name} is missing or was changed after the export; export the model anew")
    networks = {role: OpenVinoNetwork(folder / network.graph) for role, network in card.networks.items()}
    features = read_features(folder, card.model.features) if card.model.features else None
    # The predictor asks its networks for `run` and `run_all`, and nothing else.
    return Predictor(card.model, cast(Mapping[Role, OnnxNetwork], networks), features)


def _convert(role: Role, source: Path, folder: Path) -> IrNetwork:
    import onnx
    import openvino

    from tasks.bundle_export.plain_head import plain_head

    with tempfile.TemporaryDirectory(prefix="keeneye-openvino-") as scratch:
        if role == "head":
            plain = plain_head(onnx.load(source))
            source = Path(scratch) / source.name
            onnx.save(plain, source)
        model = openvino.convert_model(source)
        # OpenVINO counts the names of what it adds over all models of a process.
        for place, operator in enumerate(model.get_ordered_ops()):
            operator.set_friendly_name(f"{operator.get_type_name()}_{place}")
        graph = folder / f"{source.stem}.xml"
        openvino.save_model(model, graph, compress_to_fp16=False)
    weights = graph.with_suffix(".bin")
    return IrNetwork(
        graph=graph.name,
        graph_sha256=file_sha256(graph),
        weights=weights.name,
        weights_sha256=file_sha256(weights),
    )
