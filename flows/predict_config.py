"""The request of `keeneye predict`. Imports nothing of Keeneye but the other requests' base, so `--help` is fast."""

from typing import Annotated, Literal

from pydantic import Field

from flows.config import ModelAddress, ShardsConfig
from flows.group_config import Group

Percent = Annotated[float, Field(ge=0.0, le=100.0)]
ShardSize = Annotated[int, Field(ge=1, le=10_000)]
OverlayCount = Annotated[int, Field(ge=1, le=10_000)]
Overlays = Literal["none", "found", "all"]


class ImagesConfig(Group):
    """Which image files are read."""

    image_root: str = Field(
        default="",
        description="Folder that a manifest's references are relative to, and never leave; empty takes the manifest's "
        "own folder.",
        json_schema_extra={"position": 1},
    )
    rewrite: tuple[Annotated[str, Field(pattern=r"^.+=")], ...] = Field(
        default=(),
        description="Rules PREFIX=REPLACEMENT for a manifest's references, such as s3://bucket/photos/=.",
        json_schema_extra={"position": 2},
    )
    max_megapixels: float = Field(
        default=100.0,
        gt=0.0,
        le=100.0,
        description="Images with more pixels are left out (megapixels), judged from the header before decoding.",
        json_schema_extra={"position": 3},
    )
    max_file_megabytes: float = Field(
        default=40.0,
        gt=0.0,
        le=1000.0,
        description="Larger files are left out unread (megabytes).",
        json_schema_extra={"position": 4},
    )
    max_invalid_fraction: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Write nothing when more than this fraction of the images is bad; below it they are left out and "
        "named in the findings.",
        json_schema_extra={"position": 5},
    )


class PredictConfig(Group):
    """Run a registered model over a folder, an archive or a manifest of images."""

    model: ModelAddress = Field(
        description="The registered version: NAME@ALIAS, NAME/VERSION, or the same after models:/; an alias is looked "
        "up once, at the start.",
    )
    source: str = Field(
        default="demo://transistors?images=40&seed=8",
        min_length=1,
        description="Folder of images (labelled or not, however deep), a zip or tar archive of one, or a Ground Truth "
        "manifest, here or as s3://BUCKET/FOLDER; or the built-in demo set.",
    )
    output: str = Field(
        default="", description="Folder to write to, here or as s3://BUCKET/FOLDER; empty takes one in Keeneye's home."
    )
    min_confidence: Percent | None = Field(
        default=None,
        description="Tell every label or box at or above this confidence (0 to 100); empty tells those that reach "
        "their label's own threshold.",
    )
    manifest: bool = Field(
        default=False, description="Also write a Ground Truth manifest with machine labels, to correct and train on."
    )
    reference_prefix: str = Field(
        default="",
        description="Put before every image reference of the manifest, such as s3://bucket/photos/; empty leaves them "
        "as the source has them.",
    )
    overlays: Overlays = Field(
        default="none",
        description="Also draw pictures with labels and boxes: of images where something was found, or of all.",
    )
    max_overlays: OverlayCount = Field(default=100, description="Pictures drawn at most, of the first images.")
    shard_size: ShardSize = Field(
        default=256, description="Images that are kept together as they are done; a stopped run goes on after them."
    )
    images: ImagesConfig = Field(default=ImagesConfig(), description="Which image files are read.")
    shards: ShardsConfig = Field(default=ShardsConfig(), description="Who carries out the work on images.")
