"""A label attribute and its metadata: what is the same for every kind of label."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tasks.annotations.references import has_controls
from tasks.ground_truth.draft import Draft
from tasks.ground_truth.limits import MAX_LABEL_CHARACTERS, Limits
from tasks.ground_truth.problems import LineStopped, shown, stop

METADATA = "-metadata"

Take = Callable[[Draft], None]
"""Takes what an attribute states into the draft."""


class Attribute(NamedTuple):
    """A label attribute; `metadata` is None when it has no partner."""

    name: str
    value: Any
    metadata: Any
    kind: str

    @property
    def metadata_name(self) -> str:
        """Key of the partner."""
        return self.name + METADATA

    def wrong_value(self, what: str) -> LineStopped:
        """Return the exception for a value of another form than its kind's."""
        message = f"attribute {shown(self.name)} {what}"
        return stop("ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT", message, self.name)

    def wrong_metadata(self, what: str) -> LineStopped:
        """Return the exception for metadata of another form than its kind's."""
        message = f"{shown(self.metadata_name)} {what}"
        return stop("ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT", message, self.metadata_name)


def checked_metadata(attribute: Attribute, limits: Limits) -> dict[str, Any]:
    """Return the metadata, empty where a mode other than `aws` finds none; `aws` asks for the common keys too.

    Raises:
        LineStopped: `ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT`.
    """
    metadata = attribute.metadata
    if metadata is None and not limits.is_strict:
        return {}
    if type(metadata) is not dict:
        raise attribute.wrong_metadata(f"is no object but {shown(metadata)}")
    if limits.is_strict:
        if type(metadata.get("type")) is not str:
            raise attribute.wrong_metadata("has no type")
        if metadata.get("human-annotated") not in ("yes", "no"):
            raise attribute.wrong_metadata("says neither yes nor no under human-annotated")
        # Any form of date is accepted: the service's own samples have several.
        if type(metadata.get("creation-date")) is not str:
            raise attribute.wrong_metadata("has no creation-date")
    return metadata


def take_common(metadata: dict[str, Any], draft: Draft) -> None:
    """Take who annotated, when, and in which job."""
    if metadata.get("human-annotated") == "no":
        draft.is_human = False
    if not draft.stated_date:
        stated_date = metadata.get("creation-date")
        if type(stated_date) is str:
            draft.stated_date = stated_date
    if not draft.job_name:
        job_name = metadata.get("job-name")
        if type(job_name) is str:
            draft.job_name = job_name


def is_confidence(value: object) -> bool:
    """Whether a value is a number from 0 to 1."""
    return (type(value) is float or type(value) is int) and 0 <= value <= 1


def take_confidence(stated: Any, attribute: Attribute, draft: Draft) -> float:  # noqa: ANN401 - any JSON value
    """Return a confidence from 0 to 1; 1 for one that is not stated, and with a warning for one that is none."""
    if stated is None:
        return 1.0
    if is_confidence(stated):
        return float(stated)
    message = f"confidence {shown(stated)} is no number from 0 to 1; it counts as 1"
    draft.report("WARNING_INVALID_CONFIDENCE", message, attribute.metadata_name)
    return 1.0


def is_class_index(value: object) -> bool:
    """Whether a value is a class index: a whole number from 0 on, or one written as digits."""
    if type(value) is str:
        return value.isascii() and value.isdigit()
    return type(value) is int and value >= 0


def accepts_label(label: str, attribute: Attribute, draft: Draft) -> bool:
    """Whether a label can be used; reports it when not."""
    if not 0 < len(label) <= MAX_LABEL_CHARACTERS:
        message = f"label {shown(label)} has {len(label)} characters; 1 to {MAX_LABEL_CHARACTERS} are possible"
        draft.report("ERROR_INVALID_LABEL_NAME_LENGTH", message, attribute.metadata_name)
        return False
    if has_controls(label):
        message = f"label {shown(label)} has control characters"
        draft.report("ERROR_INVALID_LABEL_NAME", message, attribute.metadata_name)
        return False
    return True
