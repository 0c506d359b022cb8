"""The page of a comparison, as Prefect runs it."""

from pathlib import Path

from tasks import engine
from tasks.compare.records import PAGE_FILE, Leaderboard
from tasks.report.leaderboard_render import render_leaderboard
from tasks.report.records import WrittenReport
from tasks.stores.content import write_atomically
from tasks.stores.home import Home
from tasks.tracking.runs import log_report


@engine.stage("write leaderboard")
def write_leaderboard(home: Home, board: Leaderboard) -> WrittenReport:
    """Write the page of a comparison beside its leaderboard, and attach it to the MLflow run."""
    path = Path(board.folder) / PAGE_FILE
    write_atomically(path, render_leaderboard(board))
    log_report(home, board.mlflow_run_id, path)
    engine.publish_markdown("comparison", "\n".join([*board.ranking.advice, "", f"Page: `{path}`"]))
    engine.logger().info("leaderboard: %s", path)
    return WrittenReport(report_path=str(path))
