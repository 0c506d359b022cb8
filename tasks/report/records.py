"""What the report stage tells the flow."""

from tasks.stores.content import StageRecord


class WrittenReport(StageRecord, frozen=True):
    """A report left for people.

    Attributes:
        report_path: the HTML file.
    """

    report_path: str
