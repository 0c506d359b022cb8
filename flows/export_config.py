"""The request model of `keeneye export`."""

from typing import Annotated, Literal

from pydantic import Field

from flows.config import GateConfig, ModelAddress
from flows.group_config import Group

ExportFormat = Literal["onnx", "onnx-int8", "openvino"]
MetricLoss = Annotated[float, Field(ge=0.0, le=1.0)]


class ExportConfig(Group):
    """Write a registered version in a format that runs elsewhere, compared with the version on its test images."""

    model: ModelAddress = Field(
        description="The registered version: NAME@ALIAS, NAME/VERSION, or the same after models:/.",
        json_schema_extra={"position": 1},
    )
    format: ExportFormat = Field(
        default="onnx",
        description="onnx: the bundle as it is; onnx-int8: 8-bit networks, about a quarter of the size; openvino: "
        "OpenVINO's intermediate representation.",
        json_schema_extra={"position": 2},
    )
    output: str = Field(
        default="",
        description="Folder to write to; empty takes exports/NAME/VERSION/FORMAT in Keeneye's home.",
        json_schema_extra={"position": 3},
    )
    max_metric_loss: MetricLoss = Field(
        default=0.01,
        description="Refuse an export that loses more macro-F1 or mAP50 than this on the test images (absolute).",
        json_schema_extra={"position": 4},
    )
    gate: GateConfig = Field(
        default=GateConfig(),
        description="What the exported model must reach; the limits of the inference test are not judged here.",
        json_schema_extra={"position": 5},
    )
