"""What is gathered of a line while its attributes are read."""

from typing import Literal, NamedTuple

from tasks.ground_truth.limits import Limits
from tasks.ground_truth.problems import Problem

Status = Literal["valid", "invalid", "ignored"]


class BoxRow(NamedTuple):
    """A box as a line states it, in pixels, half-open; `confidence` is 0 to 1.

    A tuple where `tasks.annotations.annotated.StatedBox` is a class: a scan makes millions.
    """

    label: str
    left: float
    top: float
    width: float
    height: float
    confidence: float


class MaskRow(NamedTuple):
    """One class of a mask: `colour` is `#rrggbb`, lower case, or empty; `pixel_value` is an index, or -1."""

    label: str
    colour: str
    pixel_value: int


class Segmentation(NamedTuple):
    """A mask as a line states it; the background is not among its classes."""

    mask_ref: str
    classes: tuple[MaskRow, ...]


class LabelSet(NamedTuple):
    """The labels of one image: those of the whole image, and those of boxes and masks (None: nobody looked)."""

    image_level: tuple[str, ...]
    located: tuple[str, ...] | None


class Draft:
    """The line so far. Readers of attributes add to it; `settle` says what became of the line.

    Attributes:
        labels: image-level label to its confidence, 0 to 1.
        boxes: None until an attribute speaks of boxes.
        lists_no_label: an attribute lists the labels of the image, and there are none.
    """

    __slots__ = (
        "boxes",
        "group",
        "height",
        "is_human",
        "job_name",
        "labels",
        "limits",
        "lists_no_label",
        "problems",
        "segmentation",
        "stated_date",
        "width",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.problems: list[Problem] = []
        self.labels: dict[str, float] = {}
        self.boxes: list[BoxRow] | None = None
        self.lists_no_label = False
        self.segmentation: Segmentation | None = None
        self.width = 0
        self.height = 0
        self.stated_date = ""
        self.job_name = ""
        self.is_human = True
        self.group = ""

    def report(self, code: str, message: str, *scope: str | int) -> None:
        """Note a problem; an empty scope is the line itself."""
        self.problems.append(Problem(code, message, scope))

    def settle(self) -> Status:
        """Judge the line by its problems, and note what they mean for the line as a whole."""
        if self.problems:
            if any(problem.is_fatal for problem in self.problems):
                return "invalid"
            # Boxes were lost, so that none is left does not mean that there are none.
            if not self.boxes and any(problem.is_error for problem in self.problems):
                self.boxes = None
        if self.labels or self.boxes is not None or self.segmentation is not None:
            return "valid"
        if self.lists_no_label and not any(problem.is_error for problem in self.problems):
            return "valid"
        return self._settle_unusable()

    def _settle_unusable(self) -> Status:
        errors = {problem.code for problem in self.problems if problem.is_error and len(problem.scope) == 1}
        if errors:
            if errors == {"ERROR_NO_VALID_ANNOTATIONS"}:
                self.report("ERROR_NO_VALID_ANNOTATIONS", "no box of the line is valid")
            else:
                self.report("ERROR_NO_VALID_LABEL_ATTRIBUTES", "no label attribute of the line is valid")
            return "invalid"
        if any(problem.code == "WARNING_NO_ATTRIBUTE_ANNOTATIONS" for problem in self.problems):
            self.report("WARNING_NO_ANNOTATIONS", "the line's attributes have no annotations, so it was passed over")
        return "ignored"
