"""The summary: one HTML page about a run, that refers to nothing outside itself. Equal inputs give equal bytes."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.dataset.findings import Finding
from tasks.predict.image_files import DECODERS, ReadLimits
from tasks.predict.overview import Example, Overview
from tasks.predict.pictures import THUMBNAIL_LETTERS, THUMBNAIL_SIDE, caption_of, draw_answer, jpeg_uri
from tasks.predict.records import FetchedModel
from tasks.vision.overlays import Rgb, label_colours

SUMMARY_FILE = "summary.html"
TEMPLATE = "summary.html.j2"
MAX_BARS = 60
"""Labels with a bar; the others are counted."""
MAX_FINDINGS_LISTED = 100
"""Findings of each code with file and sentence; all of them are in `findings.jsonl`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail for the page; width and height in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SummaryInputs:
    """What the page tells of.

    Attributes:
        model: the model.
        source_name: what the source is called.
        root: folder of the images.
        overview: what was found.
        findings: number of findings by code.
        listed_findings: some of them, at most `MAX_FINDINGS_LISTED` of each code.
        invalid: number of images left out.
        min_confidence: as it was asked for (0 to 100), or None.
        limits: of the image files.
    """

    model: FetchedModel
    source_name: str
    root: Path
    overview: Overview
    findings: Mapping[str, int]
    listed_findings: Mapping[str, list[Finding]]
    invalid: int
    min_confidence: float | None
    limits: ReadLimits


def render_summary(inputs: SummaryInputs) -> str:
    """Return the page."""
    overview = inputs.overview
    surest, least_sure = overview.surest(), overview.least_sure()
    colours = label_colours(inputs.model.labels)
    shown = [*least_sure, *(one for examples in surest.values() for one in examples)]
    pictures = _pictures(inputs, shown, colours)
    labels = sorted(overview.predictions, key=lambda label: (-overview.predictions[label], label))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        inputs=inputs,
        overview=overview,
        labels=labels,
        max_bars=MAX_BARS,
        bars=_bars(overview.histogram),
        surest=surest,
        least_sure=least_sure,
        picture_of=lambda example: pictures.get(_key(example)),
        caption_of=caption_of,
        swatches={label: "#{:02x}{:02x}{:02x}".format(*colour) for label, colour in colours.items()},
    )


def first_of_each_code(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Return the first `MAX_FINDINGS_LISTED` findings of each code."""
    listed: dict[str, list[Finding]] = {}
    for finding in findings:
        of_code = listed.setdefault(finding.code, [])
        if len(of_code) < MAX_FINDINGS_LISTED:
            of_code.append(finding)
    return dict(sorted(listed.items()))


def _bars(histogram: list[int]) -> list[tuple[str, int, float]]:
    """Return the name, the number and the height (0 to 100) of each bar."""
    highest, width = max(histogram) or 1, 100 // len(histogram)
    return [
        (f"{place * width} to {(place + 1) * width}", count, round(100 * count / highest, 2))
        for place, count in enumerate(histogram)
    ]


def _pictures(
    inputs: SummaryInputs, examples: Iterable[Example], colours: Mapping[str, Rgb]
) -> dict[tuple[str, int], Picture]:
    def picture(example: Example) -> Picture | None:
        drawn = draw_answer(
            inputs.root,
            example.answer,
            [one for one in example.told if one.box],  # a classifier's labels stand below the picture
            colours,
            inputs.limits,
            side=THUMBNAIL_SIDE,
            letters=THUMBNAIL_LETTERS,
        )
        return None if drawn is None else Picture(jpeg_uri(drawn), drawn.shape[1], drawn.shape[0])

    distinct = {_key(example): example for example in examples}
    with ThreadPoolExecutor(DECODERS) as pool:
        made = pool.map(picture, distinct.values())
        return {key: one for key, one in zip(distinct, made, strict=True) if one}


def _key(example: Example) -> tuple[str, int]:
    # What is drawn of an image is the same wherever it stands, but for a doubtful box more.
    return example.answer.source_ref, len(example.told)
