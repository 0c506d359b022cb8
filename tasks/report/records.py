"""What the report stage tells the flows and the stages after it."""

from pathlib import Path

from tasks.dataset.files import EXPORTED_PICTURES_FOLDER
from tasks.stores.content import StageRecord

DATA_REPORT_FILE = "data_report.html"
PICTURES_FOLDER = EXPORTED_PICTURES_FOLDER


class WrittenReport(StageRecord, frozen=True):
    """A report left for people.

    Attributes:
        report_path: the HTML file; empty when it could not be made.
        problem: why not, a sentence.
    """

    report_path: str
    problem: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a caller should be told besides the result."""
        return (self.problem,) if self.problem else ()


class DataReport(StageRecord, frozen=True):
    """The data report of one manifest.

    Attributes:
        entry_path: the store entry with the HTML page and the contact sheets.
        pictures: number of contact sheets.
    """

    entry_path: str = ""
    pictures: int

    @property
    def report_path(self) -> Path:
        """The HTML page."""
        return Path(self.entry_path) / DATA_REPORT_FILE

    @property
    def pictures_path(self) -> Path:
        """Folder of contact sheets, one for each label."""
        return Path(self.entry_path) / PICTURES_FOLDER
