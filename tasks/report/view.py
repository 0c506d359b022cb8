"""What a page shows of one task: the seam between what all model reports share and what a task adds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.report.facts import Advice
from tasks.report.inputs import ReportInputs
from tasks.report.pictures import Place
from tasks.report.places import PlaceIndex


@dataclass(frozen=True, slots=True)
class Arranged:
    """What a task's own template needs, by name, and the images that it shows as cards."""

    values: Mapping[str, Any]
    card_places: Sequence[Place] = ()


@dataclass(frozen=True, slots=True)
class View:
    """How the runs of one task are shown.

    Attributes:
        template: extends `report.html.j2`.
        figures: name of the file, title and reading of each figure; a reading may name the inputs' `metrics`.
        draws_boxes: whether pictures of the dataset have their boxes drawn.
        advise: the task's rules.
        arrange: what the task's own parts of the page need.
        headline: the run's figures, a line each, for a summary in Markdown.
        pictures: titles and `data:` URIs of the pictures that go with the summary.
    """

    template: str
    figures: Sequence[tuple[str, str, str]]
    draws_boxes: bool
    advise: Callable[[ReportInputs[Any]], list[Advice]]
    arrange: Callable[[ReportInputs[Any], PlaceIndex], Arranged]
    headline: Callable[[ReportInputs[Any]], list[str]]
    pictures: Callable[[ReportInputs[Any]], Iterable[tuple[str, str]]]
