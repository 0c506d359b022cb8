"""The data report's page: what the inputs say, arranged for the template."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from tasks.dataset.entries import SPLITS, Split
from tasks.report.data_advice import advise_on_data, judge_data
from tasks.report.data_charts import MAX_POINTS, Bar, bars, heat_chart, size_chart
from tasks.report.data_facts import INPUT_PIXELS, SMALL_BOX_PIXELS, TINY_BOX_PIXELS, DataFacts
from tasks.report.data_inputs import DataReportInputs
from tasks.report.data_wording import ANNOTATION_MEANINGS, MODES, TASKS, VERDICTS, counted
from tasks.report.examples import Sheet, choose_examples, colours_of
from tasks.report.facts import Advice
from tasks.report.page import MAX_LISTED, FindingGroup, findings_by_code, page_environment, page_script
from tasks.report.pictures import Picture, Place, choose_evenly, locate, make_pictures, make_pictures_of_files
from tasks.report.wording import SEVERITIES
from tasks.vision.overlays import Rgb

TEMPLATE = "data.html.j2"
MAX_EXAMPLES, MAX_EXAMPLES_TOTAL = 12, 120
"""Per label, and on the page."""
LARGE_SIDE, SMALL_SIDE = 256, 128
"""Longer side of pictures (pixels); small when more than `MAX_LARGE_PICTURES` are shown, repeats included."""
MAX_LARGE_PICTURES = 160
MAX_GROUPS, MAX_GROUP_PICTURES = 6, 6
MAX_ADVICE_PICTURES = 6
MAX_FINDING_PICTURES, MAX_FINDING_TRIES, MAX_FINDING_CODES = 6, 12, 12
"""Per code: pictures shown, and files opened for them; codes with pictures."""
MAX_BARS = 60
"""Labels with a bar; all of them are in the table."""
MAX_SIZES = 8
"""Image sizes with a bar."""
MAX_SUMMARY_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are kept together: those to show, and how many there are."""

    places: tuple[Place, ...]
    size: int


@dataclass(frozen=True, slots=True)
class PicturedFindings:
    """Findings of one code, and the pictures of the files they name: of the dataset's images, and of other files."""

    group: FindingGroup
    places: tuple[Place, ...]
    others: Mapping[str, Picture]


def render_data_report(inputs: DataReportInputs) -> str:
    """Return the report as one HTML page that refers to nothing outside itself."""
    facts = DataFacts(inputs)
    index = _index(facts)
    found = advise_on_data(facts)
    advice = [(one, _places(index, one.images, MAX_ADVICE_PICTURES)) for one in found]
    sheets = choose_examples(
        inputs.entries, inputs.roots, inputs.labels, _examples_per_label(inputs), inputs.mask_options
    )
    groups = _groups(inputs, index)
    findings = _pictured_findings(inputs, index)
    colours = colours_of(inputs.entries, inputs.labels)
    script, script_digest = page_script()
    environment = page_environment()
    environment.filters["counted"] = counted
    environment.globals["picture_of"] = _pictures(advice, sheets, groups, findings, colours).get
    verdict = judge_data(facts, found)
    page = environment.get_template(TEMPLATE).render(
        inputs=inputs,
        facts=facts,
        verdict=verdict,
        verdict_words=VERDICTS[verdict],
        task_words=TASKS[inputs.task],
        mode_words=MODES[inputs.validation_mode],
        advice=advice,
        severities=SEVERITIES,
        splits=SPLITS,
        charts=_charts(facts),
        numbers=_numbers(facts),
        sheets=sheets,
        swatches={label: "#{:02x}{:02x}{:02x}".format(*rgb) for label, rgb in colours.items()},
        groups=groups,
        findings=findings,
        summary=list(_flattened(inputs.summary or {})),
        max_listed=MAX_LISTED,
        script=script,
        script_digest=script_digest,
    )
    # JSON can name halves of characters, which no file can hold.
    return page.encode("utf-8", "replace").decode("utf-8")


def _index(facts: DataFacts) -> dict[str, Place | None]:
    """Return images by reference; None where two sources use the same one for different images."""
    index: dict[str, Place | None] = {}
    for place in facts.places:
        ref = place.entry.source_ref
        index[ref] = place if index.get(ref, place) == place else None
    return index


def _places(index: Mapping[str, Place | None], refs: Iterable[str], limit: int) -> tuple[Place, ...]:
    known = (place for place in map(index.get, dict.fromkeys(refs)) if place)
    return tuple(islice(known, limit))


def _examples_per_label(inputs: DataReportInputs) -> int:
    return min(MAX_EXAMPLES, max(1, MAX_EXAMPLES_TOTAL // max(1, len(inputs.labels) + 1)))


def _groups(inputs: DataReportInputs, index: Mapping[str, Place | None]) -> list[Group]:
    several = [refs for refs in inputs.largest_groups if len(refs) > 1]
    return [
        Group(_places(index, choose_evenly(refs, MAX_GROUP_PICTURES), MAX_GROUP_PICTURES), len(refs))
        for refs in several[:MAX_GROUPS]
    ]


def _pictured_findings(inputs: DataReportInputs, index: Mapping[str, Place | None]) -> list[PicturedFindings]:
    roots = list(dict.fromkeys(inputs.roots[split] for split in SPLITS if split in inputs.roots))
    pictured = []
    for number, group in enumerate(findings_by_code(inputs.findings, ANNOTATION_MEANINGS)):
        wanted = MAX_FINDING_PICTURES if number < MAX_FINDING_CODES else 0
        refs = list(dict.fromkeys(one.source_ref for one in group.files))
        places = _places(index, refs, wanted)
        strangers = (ref for ref in refs if ref not in index)
        pictured.append(PicturedFindings(group, places, _of_files(strangers, roots, wanted - len(places))))
    return pictured


def _of_files(refs: Iterable[str], roots: Sequence[Path], wanted: int) -> dict[str, Picture]:
    """Return pictures of files that are no images of the dataset, as far as they can be read."""
    if not wanted:
        return {}
    located = ((ref, path) for ref in refs if (path := _locate(roots, ref)))
    made = make_pictures_of_files(dict(islice(located, MAX_FINDING_TRIES)), SMALL_SIDE)
    return dict(islice(made.items(), wanted))


def _locate(roots: Sequence[Path], ref: str) -> Path | None:
    return next((path for root in roots if (path := locate(root, ref))), None)


def _pictures(
    advice: Sequence[tuple[Advice, Sequence[Place]]],
    sheets: Sequence[Sheet],
    groups: Sequence[Group],
    findings: Sequence[PicturedFindings],
    colours: Mapping[str, Rgb],
) -> dict[Place, Picture]:
    shown = list(
        chain(
            (example.place for sheet in sheets for example in sheet.examples),
            (place for _, places in advice for place in places),
            (place for group in groups for place in group.places),
            (place for one in findings for place in one.places),
        )
    )
    side = LARGE_SIDE if len(shown) <= MAX_LARGE_PICTURES else SMALL_SIDE
    made = make_pictures(dict.fromkeys(shown, (side,)), colours)
    return {place: picture for (place, _), picture in made.items()}


def _charts(facts: DataFacts) -> dict[str, Any]:
    images = sorted(facts.images_by_label, key=lambda label: (-facts.images_by_label[label], label))
    boxes = sorted(facts.boxes_by_label, key=lambda label: (-facts.boxes_by_label[label], label))
    has_boxes = len(facts.box_table) > 0
    return {
        "images": _bars_by_label(images, facts.images),
        "boxes": _bars_by_label(boxes, facts.boxes) if has_boxes else [],
        "boxes_per_image": bars((name, [("all", count)]) for name, count in facts.boxes_per_image),
        "image_sizes": bars((f"{w} x {h}", [("all", count)]) for (w, h), count in facts.image_sizes[:MAX_SIZES]),
        "aspects": bars((name, [("all", count)]) for name, count in facts.aspects),
        "box_sizes": size_chart(facts.box_table) if has_boxes else None,
        "positions": heat_chart(facts.coverage) if has_boxes else None,
    }


def _bars_by_label(labels: Sequence[str], counts: Mapping[tuple[Split, str], int]) -> list[Bar]:
    return bars((label, [(split, counts.get((split, label), 0)) for split in SPLITS]) for label in labels[:MAX_BARS])


def _numbers(facts: DataFacts) -> dict[str, Any]:
    """Return the numbers that sentences need beside those of the charts."""
    table = facts.box_table
    shares = (table.right - table.left) * (table.bottom - table.top)
    return {
        "box_count": len(table),
        "median_share": float(np.median(shares)) if len(table) else 0.0,
        "small": int(table.is_small.sum()),
        "tiny": int(table.is_tiny.sum()),
        "small_pixels": SMALL_BOX_PIXELS,
        "tiny_pixels": TINY_BOX_PIXELS,
        "input_pixels": INPUT_PIXELS,
        "errors": sum(one.severity == "error" for one in facts.inputs.findings),
        "other_sizes": sum(count for _, count in facts.image_sizes[MAX_SIZES:]),
        "max_points": MAX_POINTS,
    }


def _flattened(summary: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each value of nested mappings, long texts cut."""
    for key, value in summary.items():
        path = f"{above} / {key}" if above else str(key)
        if isinstance(value, Mapping):
            yield from _flattened(value, path)
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        cut = text if len(text) <= MAX_SUMMARY_CHARACTERS else f"{text[:MAX_SUMMARY_CHARACTERS]}…"
        yield path, cut or "none"
