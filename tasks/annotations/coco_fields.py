"""Fields of COCO rows: taken from JSON of any shape, or refused with a reason."""

from typing import Any

from tasks.annotations.annotated import MAX_LABEL_CHARACTERS
from tasks.annotations.rle import is_coordinate

Id = int | float | str
Row = dict[str, Any]


class UnusableRow(Exception):
    """A row that is left out. `code` is the finding it becomes; the message continues "annotation 17: "."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code


def object_of(row: object) -> Row:
    """Return a row that is a JSON object.

    Raises:
        UnusableRow: `ERROR_INVALID_ANNOTATION`.
    """
    if not isinstance(row, dict):
        raise UnusableRow("ERROR_INVALID_ANNOTATION", f"it is a {type(row).__name__} and no object; remove it")
    return row


def id_of(row: Row, key: str, code: str) -> Id:
    """Return an id: a whole number or a text. Tables with gaps write whole numbers as floats; 7 and 7.0 are equal.

    Raises:
        UnusableRow: of the code given.
    """
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UnusableRow(code, f"its {key} is no whole number or text; give it one")
    if isinstance(value, float) and not value.is_integer():
        raise UnusableRow(code, f"its {key} is no whole number; give it one")
    return value


def name_of(row: Row) -> str:
    """Return a category's name.

    Raises:
        UnusableRow: `ERROR_INVALID_LABEL_NAME` when it is no text, blank, too long or cannot be printed.
    """
    name = row.get("name")
    if not isinstance(name, str) or not name.strip():
        raise UnusableRow("ERROR_INVALID_LABEL_NAME", "it has no name; add it")
    if len(name) > MAX_LABEL_CHARACTERS or not name.isprintable():
        problem = f"its name has more than {MAX_LABEL_CHARACTERS} characters or some that cannot be printed; change it"
        raise UnusableRow("ERROR_INVALID_LABEL_NAME", problem)
    return name


def side_of(row: Row, key: str) -> int:
    """Return an image's width or height in pixels, 0 when the row does not say.

    Raises:
        UnusableRow: `ERROR_INVALID_IMAGE_DIMENSION`.
    """
    side = row.get(key)
    if side is None:
        return 0
    if not is_coordinate(side) or side < 0 or side != int(side):
        raise UnusableRow("ERROR_INVALID_IMAGE_DIMENSION", f"its {key} is no number of pixels; correct or remove it")
    return int(side)


def is_crowd(row: Row) -> bool:
    """Tell whether an annotation covers a crowd instead of one object.

    Raises:
        UnusableRow: `ERROR_INVALID_ANNOTATION` when `iscrowd` is neither 0 nor 1.
    """
    crowd = row.get("iscrowd")
    if crowd not in (None, 0, 1):
        raise UnusableRow("ERROR_INVALID_ANNOTATION", "its iscrowd is neither 0 nor 1; correct it")
    return bool(crowd)


def confidence_of(row: Row) -> float:
    """Return an annotation's `score`, 1 without one.

    Raises:
        UnusableRow: `ERROR_INVALID_CONFIDENCE` when it is no number from 0 to 1.
    """
    score = row.get("score")
    if score is None:
        return 1.0
    if not is_coordinate(score) or not 0 <= score <= 1:
        raise UnusableRow("ERROR_INVALID_CONFIDENCE", "its score is no number from 0 to 1; correct or remove it")
    return float(score)
