"""Where the images are that a report speaks of."""

from typing import Any

from tasks.dataset.entries import SPLITS, Split
from tasks.report.inputs import ReportInputs
from tasks.report.pictures import Place


class PlaceIndex:
    """Finds the image that a reference means."""

    def __init__(self, inputs: ReportInputs[Any]) -> None:
        self._places = {
            (split, entry.source_ref): Place(inputs.roots[split], entry)
            for split, entries in inputs.entries.items()
            for entry in entries
        }

    def in_splits(self, source_ref: str, *splits: Split) -> Place | None:
        """Return the image with a reference in the first of the splits that has one; None without any."""
        return next((self._places[s, source_ref] for s in splits if (s, source_ref) in self._places), None)

    def of_reference(self, source_ref: str) -> Place | None:
        """Return the one image with a reference; None when two sources use the same one for different images."""
        found = {self._places[s, source_ref] for s in SPLITS if (s, source_ref) in self._places}
        return found.pop() if len(found) == 1 else None
