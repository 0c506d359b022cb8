"""Masks: which pixels of an image are of which class, and the boxes around them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MaskClass:
    """One class of a mask: pixels of a colour, pixels of an index, or (with neither) all that is not background.

    Attributes:
        label: the class.
        colour: `#rrggbb`, lower case; empty when the class is told by its index or is all foreground.
        index: pixel value of a grey or palette mask; -1 when the class is told by its colour or is all foreground.
    """

    label: str
    colour: str = ""
    index: int = -1
