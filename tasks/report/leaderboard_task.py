"""The page of a comparison, as Prefect runs it."""

from pathlib import Path

from tasks import engine
from tasks.compare.records import PAGE_FILE, Leaderboard
from tasks.dataset.entries import Split
from tasks.explain.records import ExplainedImage, Explanation
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.report.leaderboard_render import render_leaderboard
from tasks.report.pictures import Place
from tasks.report.records import WrittenReport
from tasks.report.why import make_looks
from tasks.stores.content import write_atomically
from tasks.stores.home import Home
from tasks.tracking.runs import log_report


@engine.stage("write leaderboard")
def write_leaderboard(home: Home, manifest: Manifest, board: Leaderboard, explained: Explanation) -> WrittenReport:
    """Write the page of a comparison beside its leaderboard, and attach it to the MLflow run."""
    path = Path(board.folder) / PAGE_FILE
    write_atomically(path, render_leaderboard(board, make_looks(_placed(manifest, explained), manifest.labels)))
    log_report(home, board.mlflow_run_id, path)
    engine.publish_markdown("comparison", "\n".join([*board.ranking.advice, "", f"Page: `{path}`"]))
    engine.logger().info("leaderboard: %s", path)
    return WrittenReport(report_path=str(path))


def _placed(manifest: Manifest, explained: Explanation) -> list[tuple[Place | None, ExplainedImage]]:
    maps = explained.maps
    wanted = {one.answer.source_ref for one in maps}
    splits: tuple[Split, ...] = ("train", "validation")
    places = {
        entry.source_ref: Place(Path(manifest.roots[split]), entry)
        for split in splits
        for entry in read_manifest(manifest.manifest_path(split))
        if entry.source_ref in wanted
    }
    return [(places.get(one.answer.source_ref), one) for one in maps]
