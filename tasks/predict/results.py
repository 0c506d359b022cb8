"""Everything that is written of a run's answers, in one pass over them: tables, manifest, overlays, and the counts."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.ingest.records import ListedImage
from tasks.predict.answers import ImageAnswer, Told, choose_told
from tasks.predict.image_files import ReadLimits
from tasks.predict.machine_labels import MANIFEST_FILE, machine_line
from tasks.predict.overview import Overview
from tasks.predict.pictures import (
    OVERLAY_LETTERS,
    OVERLAY_SIDE,
    OVERLAYS_FOLDER,
    draw_answer,
    jpeg_bytes,
    overlay_name,
)
from tasks.predict.records import FetchedModel
from tasks.predict.tables import TableWriter, rows_of
from tasks.vision.overlays import label_colours


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """What is told, and what is written beside the tables.

    Attributes:
        min_confidence: 0 to 100; None tells what reaches its label's own threshold.
        with_manifest: whether to write a manifest.
        reference_prefix: put before the manifest's references; empty leaves them as the source has them.
        overlays: which images are drawn.
        max_overlays: how many at most.
    """

    min_confidence: float | None = None
    with_manifest: bool = False
    reference_prefix: str = ""
    overlays: Literal["none", "found", "all"] = "none"
    max_overlays: int = 100


@dataclass(frozen=True, slots=True)
class NumberedAnswer:
    """An answer, and how its image is listed; `number` is its place in the list, from 1."""

    number: int
    listed: ListedImage
    answer: ImageAnswer


def numbered(listed: Iterable[ListedImage], answers: Iterable[ImageAnswer]) -> Iterator[NumberedAnswer]:
    """Pair answers with the list they come from, in whose order they are; images without an answer are left out."""
    places = enumerate(listed, start=1)
    for answer in answers:
        number, image = next(place for place in places if place[1].source_ref == answer.source_ref)
        yield NumberedAnswer(number, image, answer)


def write_results(
    folder: Path,
    model: FetchedModel,
    root: Path,
    answers: Iterable[NumberedAnswer],
    options: ResultOptions,
    limits: ReadLimits,
) -> Overview:
    """Write tables, and on request manifest and overlays, to a folder; return what the summary tells."""
    overview = Overview(model.thresholds, is_multi_label=model.is_multi_label)
    overlays = _Overlays(folder / OVERLAYS_FOLDER, model, root, options, limits)
    with ExitStack() as open_files:
        table = open_files.enter_context(TableWriter(folder))
        path = folder / MANIFEST_FILE
        manifest = open_files.enter_context(path.open("w", encoding="utf-8")) if options.with_manifest else None
        for one in answers:
            told = choose_told(one.answer, options.min_confidence)
            table.write(rows_of(one.answer, told, model))
            if manifest:
                reference = _reference(one.listed, options.reference_prefix)
                manifest.write(machine_line(one.answer, told, model, reference) + "\n")
            overlays.add(one, told)
            overview.add(one.answer, told)
    return overview


def _reference(listed: ListedImage, prefix: str) -> str:
    return f"{prefix}{listed.source_ref}" if prefix else listed.stated_ref or listed.source_ref


class _Overlays:
    """Draws the first images that are wanted."""

    def __init__(
        self, folder: Path, model: FetchedModel, root: Path, options: ResultOptions, limits: ReadLimits
    ) -> None:
        self._folder, self._root, self._limits = folder, root, limits
        self._colours = label_colours(model.labels)
        self._remaining = 0 if options.overlays == "none" else options.max_overlays
        self._draws_all = options.overlays == "all"

    def add(self, one: NumberedAnswer, told: Sequence[Told]) -> None:
        if not self._remaining or not (told or self._draws_all):
            return
        picture = draw_answer(
            self._root, one.answer, told, self._colours, self._limits, side=OVERLAY_SIDE, letters=OVERLAY_LETTERS
        )
        if picture is not None:
            self._remaining -= 1
            self._folder.mkdir(exist_ok=True)
            (self._folder / overlay_name(one.number, one.listed.source_ref)).write_bytes(jpeg_bytes(picture))
