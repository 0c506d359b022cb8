"""Test images twice, side by side: with the true mask, and with the heat map and the regions a model found."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tasks.dataset.files import read_image_bytes
from tasks.errors import SourceChanged
from tasks.evaluate.records import ImagePrediction
from tasks.metrics.anomaly import ANOMALY
from tasks.report.pairs import Pair, beside, pair_of
from tasks.report.pictures import BOX_THICKNESS, THREADS, Place, draw_thumbnails
from tasks.vision.heat_maps import draw_heat
from tasks.vision.images import ImageError, RgbImage, decode_rgb
from tasks.vision.overlays import draw_boxes, label_colours
from tasks.vision.resizing import shrink

COLOURS = label_colours([ANOMALY])
FAINT, FULL = 0.7, 2.0
"""Shares of the heat where a region begins: below the one nothing is drawn, at the other the full colour."""


def make_heat_pairs(wanted: Sequence[tuple[Place, ImagePrediction]], side: int, region_limit: float) -> dict[str, Pair]:
    """Return the pairs by reference, each picture's longer side at most `side` pixels; none of an unreadable image.

    Args:
        wanted: images and answers.
        side: in pixels.
        region_limit: heat from which an abnormal region begins.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        drawn = pool.map(lambda one: draw_heat_pair(one[0], one[1], side, region_limit), wanted)
        return {answer.source_ref: pair_of(sides) for (_, answer), sides in zip(wanted, drawn, strict=True) if sides}


def heat_side_by_side_uri(place: Place, answer: ImagePrediction, side: int, region_limit: float) -> str | None:
    """Return a pair as one picture, a `data:` URI; None when the image cannot be read."""
    sides = draw_heat_pair(place, answer, side, region_limit)
    return beside(sides) if sides else None


def draw_heat_pair(
    place: Place, answer: ImagePrediction, side: int, region_limit: float
) -> tuple[RgbImage, RgbImage] | None:
    """Return an image with its mask outlined, and with heat and given boxes; None when it cannot be read."""
    truth = draw_thumbnails(place, [side]).get(side)
    try:
        small, scale = shrink(decode_rgb(read_image_bytes(place.root, place.entry)), side)
    except (SourceChanged, ImageError):
        return None
    if truth is None:
        return None
    if answer.heat_map:
        small = draw_heat(small, answer.heat_map, FAINT * region_limit, FULL * region_limit)
    return truth.pixels, draw_boxes(small, answer.given_boxes, COLOURS, scale, thickness=BOX_THICKNESS)
