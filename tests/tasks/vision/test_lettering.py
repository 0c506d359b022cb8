"""Text for pictures: what can be shown is shown, the rest is marked, and nothing is wider than its place."""

import pytest

from tasks.vision import lettering
from tasks.vision.lettering import legible, load_font, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bent lead", "bent lead"),
        ("Ölfleck, naïve, ß", "Ölfleck, naïve, ß"),
        ("O\u0308l", "Öl"),
        ("Дефект Ω", "Дефект Ω"),
        ("日本", "??"),
        ("a\nb\tc\x00\u202e", "a?b?c??"),
        ("", ""),
    ],
)
def test_legible(text, shown):
    assert legible(text, load_font(12)) == shown


def test_without_dejavu_the_font_of_pillow_is_taken(monkeypatch):
    monkeypatch.setattr(lettering, "_dejavu_path", lambda: None)
    load_font.cache_clear()
    try:
        assert legible("bent Ö", load_font(12)) == "bent ?"
    finally:
        load_font.cache_clear()


@pytest.mark.parametrize("text", ["bent lead", "x" * 5000, "i i i i i i", "", "日本"])
@pytest.mark.parametrize("width", [0, 3, 20, 60, 400])
def test_shortened_fits(text, width):
    font = load_font(12)
    short = shortened(text, font, width)
    assert font.getlength(short) <= width
    assert short == text or short.endswith("…") or not short
    if short.endswith("…"):
        assert text.startswith(short[:-1])
    if font.getlength(text) <= width:
        assert short == text
