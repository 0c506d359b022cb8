"""Text for pictures: a font, what it can show, and text cut to a width."""

import importlib.util
import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

UNKNOWN = "?"
NOT_A_CHARACTER = "\uffff"
"""No font has it: it is drawn as fonts draw what they lack."""
FONT_FILE = "mpl-data/fonts/ttf/DejaVuSans.ttf"

Font = ImageFont.FreeTypeFont


@lru_cache(maxsize=16)
def load_font(pixels: int) -> Font:
    """Return a sans-serif font; `pixels` is the size of its letters.

    Pillow's own font has no letter with an accent, so DejaVu Sans is taken where it lies beside matplotlib (found, not
    imported); it also has Greek and Cyrillic.

    Raises:
        OSError: when Pillow was built without FreeType.
    """
    path = _dejavu_path()
    font = ImageFont.truetype(path, pixels) if path else ImageFont.load_default(pixels)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OSError("Pillow was built without FreeType; install a wheel of Pillow from the package index")
    return font


@lru_cache(maxsize=1)
def _dejavu_path() -> Path | None:
    found = importlib.util.find_spec("matplotlib")
    folders = (found.submodule_search_locations if found else None) or ()
    return next((path for folder in folders if (path := Path(folder) / FONT_FILE).is_file()), None)


def legible(text: str, font: Font) -> str:
    """Return a text with `?` for what the font lacks or what cannot be printed, so that nothing vanishes."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(one if one.isprintable() and _has_glyph(one, font) else UNKNOWN for one in composed)


def shortened(text: str, font: Font, width: int) -> str:
    """Return a text of at most `width` pixels, cut at its end with an ellipsis; empty when not even that fits."""
    # No letter is narrower than a pixel: what lies beyond need not be measured.
    text = text[: max(width, 0) + 1]
    if font.getlength(text) <= width:
        return text
    for end in range(len(text) - 1, -1, -1):
        cut = text[:end].rstrip() + "…"
        if font.getlength(cut) <= width:
            return cut if end else ""
    return ""


@lru_cache(maxsize=4096)
def _has_glyph(character: str, font: Font) -> bool:
    if character.isspace():
        return True
    lacking = font.getmask(NOT_A_CHARACTER)
    mask = font.getmask(character)
    return mask.size != lacking.size or bytes(mask) != bytes(lacking)
