"""The model report's page: what the inputs say, arranged for the template of their task."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment

from tasks.dataset.entries import SPLITS
from tasks.metrics.multi_label import MultiLabelMetrics
from tasks.report import anomaly_view, classification_view, detection_view, multi_label_view
from tasks.report.data_wording import counted
from tasks.report.examples import Sheet, choose_examples, colours_of
from tasks.report.facts import Advice, count_images
from tasks.report.inputs import ReportInputs, Task
from tasks.report.page import MAX_LISTED, findings_by_code, page_environment, page_script
from tasks.report.pictures import CARD_SIDE, CONTACT_SIDE, Picture, Place, inline_svg, make_pictures
from tasks.report.places import PlaceIndex
from tasks.report.view import View
from tasks.report.wording import MEANINGS, SEVERITIES, VERDICTS
from tasks.vision.overlays import Rgb

VIEWS: Mapping[Task, View] = {
    "classification": classification_view.VIEW,
    "detection": detection_view.VIEW,
    "anomaly": anomaly_view.VIEW,
}
MAX_CONTACT_IMAGES = 12
"""Per label."""
MAX_CONTACT_TOTAL = 240
MAX_ADVICE_PICTURES = 6
WIDE_FIGURE = 500
"""Wider figures get the whole width of the page (SVG units)."""


def render_report(inputs: ReportInputs[Any]) -> str:
    """Return the report as one HTML page that refers to nothing outside itself."""
    view, index = view_of(inputs), PlaceIndex(inputs)
    arranged = view.arrange(inputs, index)
    sheets = _contact_sheets(inputs)
    advice = [(one, _advice_places(index, one)) for one in view.advise(inputs)]
    small = [*(e.place for sheet in sheets for e in sheet.examples), *(p for _, places in advice for p in places)]
    colours = colours_of(inputs.entries, inputs.labels) if view.draws_boxes else None
    script, script_digest = page_script()
    return (
        _environment(_make_pictures(arranged.card_places, small, colours))
        .get_template(view.template)
        .render(
            inputs=inputs,
            verdict=VERDICTS.get(inputs.status, (inputs.status, "", "")),
            severities=SEVERITIES,
            figures=_figures(inputs, view.figures),
            wide_figure=WIDE_FIGURE,
            sheets=sheets,
            findings=findings_by_code(inputs.findings, MEANINGS),
            advice=advice,
            splits=SPLITS,
            max_listed=MAX_LISTED,
            script=script,
            script_digest=script_digest,
            **arranged.values,
        )
    )


def view_of(inputs: ReportInputs[Any]) -> View:
    """Return how a run is shown."""
    return multi_label_view.VIEW if isinstance(inputs.metrics, MultiLabelMetrics) else VIEWS[inputs.task]


def _environment(pictures: Mapping[tuple[Place, int], Picture]) -> Environment:
    environment = page_environment()
    environment.filters["count_images"] = count_images
    environment.filters["counted"] = counted
    environment.filters["sum_values"] = lambda counts: sum(counts.values())
    environment.globals["card_picture"] = lambda place: pictures.get((place, CARD_SIDE))
    environment.globals["small_picture"] = lambda place: pictures.get((place, CONTACT_SIDE))
    return environment


def _make_pictures(
    cards: Iterable[Place], small: Iterable[Place], colours: Mapping[str, Rgb] | None
) -> dict[tuple[Place, int], Picture]:
    wanted: dict[Place, set[int]] = {}
    for places, side in ((cards, CARD_SIDE), (small, CONTACT_SIDE)):
        for place in places:
            wanted.setdefault(place, set()).add(side)
    return make_pictures(wanted, colours)


def _contact_sheets(inputs: ReportInputs[Any]) -> list[Sheet]:
    size = min(MAX_CONTACT_IMAGES, max(1, MAX_CONTACT_TOTAL // max(1, len(inputs.labels))))
    return choose_examples(inputs.entries, inputs.roots, inputs.labels, size)


def _advice_places(index: PlaceIndex, advice: Advice) -> list[Place]:
    places = (index.of_reference(ref) for ref in advice.images[:MAX_ADVICE_PICTURES])
    return [place for place in places if place]


def _figures(inputs: ReportInputs[Any], figures: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "title": title,
            "reading": reading.format(metrics=inputs.metrics),
            "drawing": inline_svg(inputs.figures_path / f"{name}.svg", name, title),
        }
        for name, title, reading in figures
    ]
