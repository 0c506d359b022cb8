"""What can be wrong with a manifest or one of its lines: codes, texts, places, and which code is found first.

Codes are the managed service's (Custom Labels developer guide, "Terminal manifest content errors" and "Non-terminal
JSON line validation errors"). It drops some lines without a word, and some of what Keeneye reads it does not know;
such cases have codes of Keeneye's own, listed in `OWN_CODES`.

Some of its codes never occur here. No bucket is read or written, so none can have wrong permissions or another owner,
and no image is copied: `ERROR_INVALID_PERMISSIONS_MANIFEST_S3_BUCKET`, `ERROR_CANNOT_WRITE_OUTPUT_S3_BUCKET`,
`ERROR_INVALID_PERMISSIONS_IMAGES_S3_BUCKET`, `ERROR_INVALID_IMAGES_S3_BUCKET_OWNER`, `ERROR_FAILED_IMAGES_S3_COPY`.
Keeneye divides datasets itself and does so however few images a label has, so it has no use for
`ERROR_INSUFFICIENT_IMAGES_PER_LABEL_FOR_DISTRIBUTE`.
"""

from typing import NamedTuple

Scope = tuple[str | int, ...]

SHOWN_CHARACTERS = 100

CHECKED_FIRST = (
    "ERROR_MISSING_SOURCE_REF",
    "ERROR_INVALID_SOURCE_REF_FORMAT",
    "ERROR_NO_LABEL_ATTRIBUTES",
    "ERROR_INVALID_LABEL_ATTRIBUTE_FORMAT",
    "ERROR_INVALID_LABEL_ATTRIBUTE_METADATA_FORMAT",
    "ERROR_MISSING_BOUNDING_BOX_CONFIDENCE",
    "ERROR_MISSING_CLASS_MAP_ID",
    "ERROR_INVALID_JSON_LINE",
)
"""In this order; the first that is found ends the checks of its line, which is then invalid."""

PRECEDENCE = {code: rank for rank, code in enumerate(CHECKED_FIRST)}

TERMINAL_CODES = frozenset(
    {
        "ERROR_LINE_TOO_LONG",
        "ERROR_INVALID_JSON_LINE",
        "ERROR_MISSING_SOURCE_REF",
        "ERROR_INVALID_SOURCE_REF_FORMAT",
    }
)
"""Lines with these never enter a dataset of the managed service, nor do duplicates; it shows them nowhere."""

OWN_CODES = {
    "ERROR_LINE_TOO_LONG": "the managed service drops such a line in silence",
    "ERROR_INVALID_LABEL_NAME": "a label with control characters",
    "ERROR_TOO_MANY_LABELS_PER_IMAGE": "the limit of the service's limits page, which has no code",
    "WARNING_DUPLICATE_SOURCE_REF": "the managed service drops the second line of an image in silence",
    "WARNING_OTHER_USE_CASE": "the managed service trains one kind of model and drops the lines of the other",
    "WARNING_UNSUPPORTED_USE_CASE_TYPE": "an attribute that open mode passes over",
    "WARNING_INVALID_ROWS_IN_MANIFEST": "invalid lines, but not so many that the manifest fails",
    "WARNING_INVALID_CONFIDENCE": "a confidence that open mode counts as 1",
    "WARNING_SECOND_MASK": "open mode reads one mask of an image",
}


class Problem(NamedTuple):
    """Something wrong with a line, at a place in it.

    `scope` is `()` for the line, `("attr",)`, `("attr-metadata",)` or `("attr", "annotations", 3)`. A code that
    starts with `ERROR_` means that the place was left out: at the line, the image; at an attribute or its metadata,
    that attribute; at an annotation, that box. One of `CHECKED_FIRST` leaves out the image wherever it stands.
    """

    code: str
    message: str
    scope: Scope = ()

    @property
    def is_error(self) -> bool:
        """Whether something was left out."""
        return self.code.startswith("ERROR_")

    @property
    def is_fatal(self) -> bool:
        """Whether the whole line was left out as invalid."""
        return self.is_error and (not self.scope or self.code in PRECEDENCE)


class LineStopped(Exception):
    """One of `CHECKED_FIRST` was found; the line is checked no further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def stop(code: str, message: str, *scope: str | int) -> LineStopped:
    """Return the exception that ends the checks of a line."""
    return LineStopped(Problem(code, message, scope))


def shown(value: object) -> str:
    """Return a value as messages show it: quoted and not longer than a message can bear."""
    text = value[: SHOWN_CHARACTERS + 1] if isinstance(value, str) else repr(value)
    short = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
    return repr(short) if isinstance(value, str) else short
