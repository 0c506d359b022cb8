"""One line of a manifest: what it says of its image, and what is wrong with it.

Reads every dialect: single labels with and without metadata, label lists, one attribute per class, bounding boxes,
segmentation masks, Lookout for Vision, and the lines that Keeneye and the managed service write. This module and
those it imports stay light (no pydantic, no numpy): every worker of a scan loads them.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from tasks.annotations.dates import canonical_date
from tasks.annotations.references import has_controls
from tasks.ground_truth.attributes import SERVICE_KEY, check_attributes, find_attributes
from tasks.ground_truth.draft import BoxRow, Draft, LabelSet, MaskRow, Segmentation, Status
from tasks.ground_truth.limits import LIMITS, MAX_SOURCE_REF_CHARACTERS, Limits, Mode
from tasks.ground_truth.problems import LineStopped, Problem, shown, stop

DIGEST_BYTES = 16
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_LEVELS = 200
"""Of objects and lists in each other. What is read must be written again: orjson reads 1,024, but writes 254."""
_NESTING = (dict, list)
_MASK_KEYS = ("label", "colour", "index")


class ParsedLine(NamedTuple):
    """What a line says, and what is wrong with it. A line that is not valid says nothing of its image.

    Attributes:
        value: the decoded object; None when the line is no JSON object.
        source_ref: as stated; empty when the line has none that is accepted.
        status: `invalid` exactly when one of the problems is fatal; `ignored` lines have nothing to learn from. A
            valid line without labels, boxes and mask lists the labels of its image, which are none.
        problems: in the order in which they were found.
        labels: image-level labels, sorted, each once.
        confidences: 0 to 1, one for each of `labels`.
        boxes: None when the line says nothing of boxes; empty when it says there are none.
        segmentation: the mask; None without one.
        stated_width: of the image (pixels); 0 when the line does not say.
        stated_height: likewise.
        stated_date: the first creation date, in whatever form.
        job_name: of the first attribute that names one.
        is_human: no attribute was annotated by a machine.
        given_group: the group that Keeneye wrote; empty without one.
    """

    value: dict[str, Any] | None
    source_ref: str
    status: Status
    problems: tuple[Problem, ...] = ()
    labels: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    boxes: tuple[BoxRow, ...] | None = None
    segmentation: Segmentation | None = None
    stated_width: int = 0
    stated_height: int = 0
    stated_date: str = ""
    job_name: str = ""
    is_human: bool = True
    given_group: str = ""

    @property
    def creation_date(self) -> str:
        """`YYYY-MM-DDTHH:MM:SS.ffffff` in UTC; empty when the line names none that can be read."""
        return canonical_date(self.stated_date)

    @property
    def label_set(self) -> LabelSet:
        """All labels of the image, by where they stand."""
        if self.boxes is None and self.segmentation is None:
            return LabelSet(self.labels, None)
        located = {box.label for box in self.boxes or ()}
        if self.segmentation is not None:
            located.update(row.label for row in self.segmentation.classes)
        return LabelSet(self.labels, tuple(sorted(located)))


def parse_line(text: bytes, mode: Mode) -> ParsedLine:
    """Read and check one line, with or without its line break. Never raises."""
    limits = LIMITS[mode]
    if len(text) > limits.max_line_characters and _characters(text) > limits.max_line_characters:
        return overlong_line(mode)
    try:
        value = orjson.loads(text.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        is_blank = not text.removeprefix(BYTE_ORDER_MARK).strip()
        return _unreadable("the line is blank" if is_blank else f"the line is no JSON: {error.msg}")
    if text.count(b"[") + text.count(b"{") > MAX_LEVELS and _is_deeper(value, MAX_LEVELS):
        return _unreadable(f"the line has objects and lists in more than {MAX_LEVELS} levels; make it flatter")
    if type(value) is not dict:
        return _unreadable(f"the line is no JSON object but {shown(value)}")
    return parse_object(value, limits)


def with_problems(parsed: ParsedLine, problems: Iterable[Problem]) -> ParsedLine:
    """Return the line with further problems, of its image say; a fatal one makes it invalid."""
    added = tuple(problems)
    if not added:
        return parsed
    if any(problem.is_fatal for problem in added):
        return ParsedLine(parsed.value, parsed.source_ref, "invalid", parsed.problems + added)
    return parsed._replace(problems=parsed.problems + added)


def ignored(parsed: ParsedLine, problem: Problem) -> ParsedLine:
    """Return a valid line as one that is passed over for a reason that lies outside it."""
    return ParsedLine(parsed.value, parsed.source_ref, "ignored", (*parsed.problems, problem))


def parse_object(value: dict[str, Any], limits: Limits) -> ParsedLine:
    """Check the decoded object of a line. Never raises; `value` stays as it is."""
    source_ref = ""
    try:
        source_ref = _source_ref(value, limits)
        attributes = find_attributes(value, limits)
        draft = Draft(limits)
        if attributes:
            check_attributes(attributes, draft)
        else:
            draft.report("WARNING_UNANNOTATED_RECORD", "the line has no annotation, only a source-ref")
    except LineStopped as stopped:
        return ParsedLine(value, source_ref, "invalid", (stopped.problem,))
    return _finished(value, source_ref, draft)


def overlong_line(mode: Mode) -> ParsedLine:
    """Return what is said of a line longer than the mode accepts."""
    message = f"the line has more than {LIMITS[mode].max_line_characters} characters and was passed over"
    return ParsedLine(None, "", "invalid", (Problem("ERROR_LINE_TOO_LONG", message),))


def _characters(text: bytes) -> int:
    return len(text.rstrip(b"\r\n").decode("utf-8", "replace"))


def _unreadable(message: str) -> ParsedLine:
    return ParsedLine(None, "", "invalid", (Problem("ERROR_INVALID_JSON_LINE", message),))


def _is_deeper(value: object, levels: int) -> bool:
    """Whether a value has objects and lists in more levels; one level after the other, as a recursion may not."""
    level: list[Any] = [[value]]
    for _ in range(levels + 1):
        inside = (outer.values() if type(outer) is dict else outer for outer in level)
        level = [item for items in inside for item in items if type(item) in _NESTING]
        if not level:
            return False
    return True


def _source_ref(value: dict[str, Any], limits: Limits) -> str:
    try:
        source_ref = value["source-ref"]
    except KeyError:
        raise stop("ERROR_MISSING_SOURCE_REF", "the line has no source-ref, so no image") from None
    if type(source_ref) is not str:
        raise stop("ERROR_INVALID_SOURCE_REF_FORMAT", f"source-ref is no text: {shown(source_ref)}")
    if not 0 < len(source_ref) <= MAX_SOURCE_REF_CHARACTERS:
        message = f"source-ref has {len(source_ref)} characters; 1 to {MAX_SOURCE_REF_CHARACTERS} are possible"
        raise stop("ERROR_INVALID_SOURCE_REF_FORMAT", message)
    if has_controls(source_ref):
        raise stop("ERROR_INVALID_SOURCE_REF_FORMAT", f"source-ref has control characters: {shown(source_ref)}")
    if limits.is_strict and not all(_bucket_and_key(source_ref)):
        raise stop("ERROR_INVALID_SOURCE_REF_FORMAT", f"source-ref is not s3://bucket/key: {shown(source_ref)}")
    return source_ref


def digest_of(source_ref: str) -> bytes:
    """Return the 16 bytes by which a scan tells images apart."""
    return blake2b(source_ref.encode(), digest_size=DIGEST_BYTES).digest()


def duplicate_of(first: int) -> Problem:
    """Return what is said of a second valid line of an image whose first is line `first`."""
    return Problem("WARNING_DUPLICATE_SOURCE_REF", f"the image has another line, {first}, which is used instead")


def bucket_of(source_ref: str) -> str:
    """Return the S3 bucket of a reference; empty when it names none."""
    return _bucket_and_key(source_ref)[0]


def _bucket_and_key(source_ref: str) -> tuple[str, str]:
    if not source_ref.startswith("s3://"):
        return "", ""
    bucket, _, key = source_ref[5:].partition("/")
    return bucket, key


def _finished(value: dict[str, Any], source_ref: str, draft: Draft) -> ParsedLine:
    status = draft.settle()
    problems = tuple(draft.problems)
    if status != "valid":
        return ParsedLine(value, source_ref, status, problems)
    if SERVICE_KEY in value:
        _take_keeneye(value[SERVICE_KEY], draft)
    labels = tuple(sorted(draft.labels))
    return ParsedLine(
        value,
        source_ref,
        status,
        problems,
        labels,
        tuple([draft.labels[label] for label in labels]),
        None if draft.boxes is None else tuple(draft.boxes),
        draft.segmentation,
        draft.width,
        draft.height,
        draft.stated_date,
        draft.job_name,
        draft.is_human,
        draft.group,
    )


def _take_keeneye(known: object, draft: Draft) -> None:
    if not isinstance(known, dict):
        return
    if isinstance(known.get("group"), str):
        draft.group = known["group"]
    sides = known.get("width"), known.get("height")
    if not draft.width and all(type(side) is int and side > 0 for side in sides):
        draft.width, draft.height = sides  # type: ignore[assignment] # both are int, by the line above
    mask_ref = known.get("mask-ref")
    if draft.segmentation is None and isinstance(mask_ref, str) and mask_ref and not draft.limits.is_strict:
        draft.segmentation = Segmentation(mask_ref, _keeneye_classes(known.get("mask-classes")))


def _keeneye_classes(stated: object) -> tuple[MaskRow, ...]:
    """Return the classes of a mask as Keeneye writes them; none unless all are as it writes them."""
    rows = []
    for item in stated if isinstance(stated, list) else ():
        label, colour, index = (item.get(key) for key in _MASK_KEYS) if isinstance(item, dict) else (None, None, None)
        if not (isinstance(label, str) and isinstance(colour, str) and isinstance(index, int)):
            return ()
        rows.append(MaskRow(label, colour, index))
    return tuple(rows)
