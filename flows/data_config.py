"""The groups of a request about images: where they come from, how masks are read, what happens before the network."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flows.group_config import Group

NAME_OR_EMPTY = r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$"
SplitScheme = Literal["70/15/15", "80/20", "given"]


class DataConfig(Group):
    """Where the images come from and how they are divided."""

    source: str = Field(
        default="demo://transistors?images=150&seed=7",
        min_length=1,
        description="Folder of images (one sub-folder per label, or the MVTec layout with masks), Ground Truth "
        "manifest, COCO, YOLO, Pascal VOC or CSV annotations, a zip or tar archive of any of these, here or as "
        "s3://BUCKET/FOLDER; or the built-in demo set.",
        json_schema_extra={"position": 1},
    )
    name: str = Field(
        default="",
        pattern=NAME_OR_EMPTY,
        description="Name of the dataset, under which its versions and splits are kept; empty takes the source's "
        "own name.",
        json_schema_extra={"position": 2},
    )
    split: SplitScheme = Field(
        default="70/15/15",
        description="Shares of train/validation/test per label; 80/20 has no validation; `given` takes the split "
        "folders of the source.",
        json_schema_extra={"position": 3},
    )
    test_source: str = Field(
        default="",
        description="A second folder that is used for testing only; empty tests on a share of the source.",
        json_schema_extra={"position": 4},
    )
    max_invalid_fraction: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Stop when more than this fraction of the files is bad; below it they are left out and named "
        "in the findings.",
        json_schema_extra={"position": 5},
    )
    min_side_pixels: int = Field(
        default=32,
        ge=1,
        le=4096,
        description="Images with a shorter side are left out (pixels).",
        json_schema_extra={"position": 6},
    )
    max_megapixels: float = Field(
        default=100.0,
        gt=0.0,
        le=100.0,
        description="Images with more pixels are left out (megapixels), judged from the header before decoding.",
        json_schema_extra={"position": 7},
    )
    max_file_megabytes: float = Field(
        default=40.0,
        gt=0.0,
        le=1000.0,
        description="Larger files are left out unread (megabytes).",
        json_schema_extra={"position": 8},
    )
    image_root: str = Field(
        default="",
        description="Folder that the references of annotation files are relative to, and never leave, here or as "
        "s3://BUCKET/FOLDER; empty takes the source's own folder, of a manifest in an object store its bucket.",
        json_schema_extra={"position": 9},
    )
    rewrite: tuple[Annotated[str, Field(pattern=r"^.+=")], ...] = Field(
        default=(),
        description="Rules PREFIX=REPLACEMENT for references of annotation files, such as s3://bucket/photos/=.",
        json_schema_extra={"position": 10},
    )
    rules: Literal["open", "aws"] = Field(
        default="open",
        description="What counts as valid: `open` takes true negatives, masks and every format; `aws` takes what "
        "Rekognition Custom Labels accepts, and no more.",
        json_schema_extra={"position": 11},
    )
    group_by: str = Field(
        default="",
        description="Images of one group never part: a regular expression with one group, searched in each "
        "reference, such as part-(\\d+), or the name of a CSV column.",
        json_schema_extra={"position": 12},
    )
    near_duplicates: bool = Field(
        default=True,
        description="Keep pictures that show the same but for compression, size or brightness in one split.",
        json_schema_extra={"position": 13},
    )
    normal_label: str = Field(
        default="",
        max_length=256,
        description="Anomalies: the label of images that are as they should be; empty takes good, normal and ok.",
        json_schema_extra={"position": 14},
    )
    labels_per_image: Literal["auto", "one", "any"] = Field(
        default="auto",
        description="Classification: one label per image, or any number of them, none among it; auto takes any where "
        "the source gives an image several.",
        json_schema_extra={"position": 15},
    )


class MaskConfig(Group):
    """How masks become bounding boxes."""

    alpha_threshold: int = Field(
        default=128,
        ge=0,
        le=255,
        description="Mask pixels less opaque than this are background (0 to 255).",
        json_schema_extra={"position": 1},
    )
    colour_tolerance: int = Field(
        default=8,
        ge=0,
        le=127,
        description="Largest difference of a channel to a class's colour (0 to 255).",
        json_schema_extra={"position": 2},
    )
    connectivity: Literal[4, 8] = Field(
        default=8,
        description="8: pixels that touch at a corner belong together; 4: only at a side.",
        json_schema_extra={"position": 3},
    )
    min_area_pixels: int = Field(
        default=16,
        ge=1,
        description="Smaller components are noise and get no box (pixels).",
        json_schema_extra={"position": 4},
    )
    merge_distance_pixels: int = Field(
        default=0,
        ge=0,
        description="Components of one class with a gap of at most this get one box (pixels); 0 merges none.",
        json_schema_extra={"position": 5},
    )
    one_box_per: Literal["component", "class"] = Field(
        default="component",
        description="One box around each component, or one around all of a class.",
        json_schema_extra={"position": 6},
    )


class CropConfig(Group):
    """The part of an image that counts, as ratios of its width and height; the whole image unless said otherwise."""

    left: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Left edge (0 to 1).", json_schema_extra={"position": 1}
    )
    top: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Upper edge (0 to 1).", json_schema_extra={"position": 2}
    )
    width: float = Field(default=1.0, gt=0.0, le=1.0, description="Width (0 to 1).", json_schema_extra={"position": 3})
    height: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Height (0 to 1).", json_schema_extra={"position": 4}
    )

    @model_validator(mode="after")
    def _lies_within(self) -> Self:
        # Ratios such as 0.1 + 0.9 are sums of rounded numbers.
        if max(self.left + self.width, self.top + self.height) > 1.0 + 1e-9:
            raise ValueError("the crop reaches beyond the image; left + width and top + height may be at most 1")
        return self


class PreprocessingConfig(Group):
    """What happens to an image before the network sees it, in training as in every prediction, in this order."""

    crop: CropConfig = Field(
        default=CropConfig(),
        title="Crop",
        description="Only this part of every image is looked at.",
        json_schema_extra={"position": 1},
    )
    denoise: Literal[0, 3, 5, 7] = Field(
        default=0,
        description="Diameter of a median filter against specks (pixels of the image); 0 leaves them.",
        json_schema_extra={"position": 2},
    )
    clahe: float = Field(
        default=0.0,
        ge=0.0,
        le=40.0,
        description="Contrast limit of an adaptive equalisation of the lightness (CLAHE), in multiples of the mean "
        "bar of a tile's histogram; 2 is usual, 0 leaves the contrast as it is.",
        json_schema_extra={"position": 3},
    )
    grey: bool = Field(
        default=False, description="Look at lightness only, not at colours.", json_schema_extra={"position": 4}
    )
    framing: Literal["stretch", "letterbox"] = Field(
        default="stretch",
        description="How an image becomes square for a classifier: `stretch` may distort it, `letterbox` keeps its "
        "proportions and pads the rest. Detectors always pad, anomaly models always stretch.",
        json_schema_extra={"position": 5},
    )

    @property
    def before_framing(self) -> dict[str, Any]:
        """What happens to an image before it becomes square, by name."""
        return self.model_dump(exclude={"framing"})
