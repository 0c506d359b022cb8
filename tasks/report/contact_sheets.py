"""Contact sheets as files: per label one picture with examples, their boxes and masks drawn."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from tasks.dataset.entries import ImageEntry, Split
from tasks.report.data_wording import counted
from tasks.report.examples import Example, Sheet, choose_examples, colours_of
from tasks.report.pictures import DEFAULT_MASK_OPTIONS, THREADS, draw_thumbnails, jpeg_uri
from tasks.vision.images import RgbImage
from tasks.vision.lettering import legible, load_font, shortened
from tasks.vision.masks import MaskOptions
from tasks.vision.overlays import Rgb

MAX_EXAMPLES = 24
COLUMNS = 6
SIDE = 224
"""Longer side of a thumbnail (pixels)."""
MARGIN, CAPTION_HEIGHT, TITLE_HEIGHT = 12, 20, 46
"""Pixels."""
TITLE_LETTERS, CAPTION_LETTERS = 18, 11
PAPER: Rgb = (255, 255, 255)
GAP_GROUND: Rgb = (233, 237, 240)
INK: Rgb = (34, 48, 60)
SOFT_INK: Rgb = (81, 96, 109)
SUFFIX = ".png"
"""JPEG would blur lines of one pixel."""
NEGATIVES_NAME = "no-boxes"
MAX_NAME_CHARACTERS = 80
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


def write_contact_sheets(
    folder: Path,
    labels: Sequence[str],
    entries: Mapping[Split, Sequence[ImageEntry]],
    roots: Mapping[Split, Path],
    mask_options: MaskOptions = DEFAULT_MASK_OPTIONS,
) -> list[Path]:
    """Write one PNG for each label, and one of the images without boxes if there are any.

    Up to `MAX_EXAMPLES` images of a label are shown, evenly chosen; one that can no longer be read leaves a gap.

    Args:
        folder: made when it does not exist.
        labels: sorted; a label without images has a sheet that says so.
        entries: the images of each split.
        roots: per split, the folder to which references are relative.
        mask_options: how masks are read.

    Returns:
        The files, in the order of the labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sheets = choose_examples(entries, roots, labels, MAX_EXAMPLES, mask_options)
    colours = colours_of(entries, labels)
    paths = [folder / f"{name}{SUFFIX}" for name in file_names([sheet.label for sheet in sheets])]
    for path, sheet in zip(paths, sheets, strict=True):
        Image.fromarray(draw_contact_sheet(sheet, colours)).save(path)
    return paths


def sheet_uri(path: Path, max_width: int) -> str:
    """Return a written sheet, scaled down to `max_width` pixels, as a `data:` URI."""
    with Image.open(path) as sheet:
        sheet.thumbnail((max_width, sheet.height), Image.Resampling.LANCZOS)
        return jpeg_uri(np.asarray(sheet.convert("RGB")))


def file_names(labels: Sequence[str]) -> list[str]:
    """Return a file name for each label: safe on every system, short, and like no other even in another case."""
    taken: set[str] = set()
    names = []
    for label in labels:
        name = _safe_name(label)
        number = 2
        unique = name
        while unique.casefold() in taken:
            unique = f"{name}-{number}"
            number += 1
        taken.add(unique.casefold())
        names.append(unique)
    return names


def draw_contact_sheet(sheet: Sheet, colours: Mapping[str, Rgb]) -> RgbImage:
    """Return a sheet as height x width x 3; `colours` are those of the boxes' labels."""
    with ThreadPoolExecutor(THREADS) as pool:
        drawn = list(
            pool.map(lambda example: draw_thumbnails(example.place, [SIDE], colours).get(SIDE), sheet.examples)
        )
    rows = max(1, -(-len(drawn) // COLUMNS))
    size = (COLUMNS * (SIDE + MARGIN) + MARGIN, TITLE_HEIGHT + rows * (SIDE + CAPTION_HEIGHT + MARGIN))
    canvas = Image.new("RGB", size, PAPER)
    _write_title(canvas, sheet, colours)
    for place, (example, thumbnail) in enumerate(zip(sheet.examples, drawn, strict=True)):
        row, column = divmod(place, COLUMNS)
        corner = (MARGIN + column * (SIDE + MARGIN), TITLE_HEIGHT + row * (SIDE + CAPTION_HEIGHT + MARGIN))
        _paste(canvas, corner, thumbnail.pixels if thumbnail else None)
        _write_caption(canvas, corner, example)
    return np.asarray(canvas)


def title_of(sheet: Sheet) -> str:
    """Return the label and what there is of it."""
    if sheet.is_of_negatives:
        return f"no boxes: {counted(sheet.image_count, 'image')}, {len(sheet.examples)} shown"
    boxes = f", {counted(sheet.box_count, 'box')}" if sheet.box_count else ""
    return f"{sheet.label}: {counted(sheet.image_count, 'image')}{boxes}, {len(sheet.examples)} shown"


def _safe_name(label: str) -> str:
    if not label:
        return NEGATIVES_NAME
    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", label))
    # Most systems count bytes, and allow 255 of them.
    name = name.encode()[:MAX_NAME_CHARACTERS].decode(errors="ignore").strip("._ ")
    return f"{name or 'label'}_" if name.split(".")[0].casefold() in _RESERVED or not name else name


def _write_title(canvas: Image.Image, sheet: Sheet, colours: Mapping[str, Rgb]) -> None:
    pen, font = ImageDraw.Draw(canvas), load_font(TITLE_LETTERS)
    left = MARGIN
    if not sheet.is_of_negatives:
        swatch = (left, 16, left + TITLE_LETTERS, 16 + TITLE_LETTERS)
        pen.rectangle(swatch, fill=colours[sheet.label], outline=INK)
        left += TITLE_LETTERS + 8
    text = shortened(legible(title_of(sheet), font), font, canvas.width - left - MARGIN)
    pen.text((left, 14), text, fill=INK, font=font)


def _paste(canvas: Image.Image, corner: tuple[int, int], thumbnail: RgbImage | None) -> None:
    x, y = corner
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), fill=GAP_GROUND)
    if thumbnail is None:
        pen.text((x + SIDE // 2, y + SIDE // 2), "cannot be read", fill=SOFT_INK, font=load_font(12), anchor="mm")
        return
    height, width = thumbnail.shape[:2]
    canvas.paste(Image.fromarray(thumbnail), (x + (SIDE - width) // 2, y + (SIDE - height) // 2))


def _write_caption(canvas: Image.Image, corner: tuple[int, int], example: Example) -> None:
    font = load_font(CAPTION_LETTERS)
    split = f", {example.split}"
    name = PurePosixPath(example.place.entry.source_ref).name
    room = SIDE - round(font.getlength(split)) - 1
    text = shortened(legible(name, font), font, room) + split
    ImageDraw.Draw(canvas).text((corner[0], corner[1] + SIDE + 3), text, fill=SOFT_INK, font=font)
