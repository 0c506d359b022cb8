"""Pages for people, the last box of a line: one that cannot be made takes nothing from what it was to tell of."""

from collections.abc import Callable

from prefect import get_run_logger

from tasks.errors import in_one_sentence
from tasks.report.records import WrittenReport


def page_or_problem(write: Callable[[], WrittenReport]) -> WrittenReport:
    """Write a page; whatever goes wrong with it, the line goes on, and its result tells."""
    try:
        return write()
    except Exception as error:
        problem = (
            f"the page could not be written, or not be attached to its MLflow run ({in_one_sentence(error)}); nothing "
            "else is missing, and the same command tries it again"
        )
        get_run_logger().warning(problem)
        return WrittenReport(report_path="", problem=problem)
