"""From a folder of images to a leaderboard of classifiers, all measured on the same folds."""

from prefect import flow
from prefect.runtime import flow_run

from flows.compare_config import CANDIDATES, Budget, CandidateName, CompareConfig, Folds, Trials
from flows.compare_result import CompareResult, collect, finished
from flows.config import DataConfig, GateConfig, MaskConfig, RegistryConfig, ShardsConfig, TrainingConfig
from flows.measuring import measure_candidates
from flows.orphaned_runs import begin
from flows.reporting import page_or_problem
from flows.train import train
from tasks.compare.ranking import rank
from tasks.compare.task import publish_comparison, request_of
from tasks.explain.task import explain_candidate
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.report.leaderboard_task import write_leaderboard


@flow(name="compare", persist_result=False)
def compare(
    data: DataConfig = DataConfig(),  # noqa: B008 - frozen, and the form shows its fields
    candidates: tuple[CandidateName, ...] = CANDIDATES,
    budget: Budget = "30m",
    folds: Folds = 5,
    trials: Trials = 8,
    training: TrainingConfig = TrainingConfig(),  # noqa: B008
    gate: GateConfig = GateConfig(),  # noqa: B008
    registry: RegistryConfig = RegistryConfig(),  # noqa: B008
    ship: bool = False,
    shards: ShardsConfig = ShardsConfig(),  # noqa: B008
    explain: bool = True,
) -> CompareResult:
    """Measure many ways to train on the same folds, and say which to prefer; the test split is not read.

    Args:
        data: Where the images come from and how they are divided.
        candidates: What is compared: ALGORITHM, ALGORITHM:FEATURES, NETWORK or NETWORK:searched.
        budget: The longest that measuring may take, as 90s, 10m or 2h.
        folds: Folds that every candidate is measured on.
        trials: Options that a network marked :searched tries in each fold.
        training: What all candidates have in common.
        gate: What a shipped model must reach.
        registry: Where a shipped model goes.
        ship: Train the recommended candidate at once.
        shards: Who carries out the work on images.
        explain: Show where the recommended candidate looks.
    """
    config = CompareConfig(
        data=data,
        candidates=candidates,
        budget=budget,
        folds=folds,
        trials=trials,
        training=training,
        gate=gate,
        registry=registry,
        ship=ship,
        shards=shards,
        explain=explain,
    )
    home = begin()

    images = ingest_images(home, data, shards)
    manifest = build_manifest(home, images, data, MaskConfig(), "classification")
    standings = measure_candidates(home, manifest, config)
    ranking = rank(standings, budget)
    board = publish_comparison(home, manifest, ranking, config)
    explained = explain_candidate(home, manifest, ranking.of(ranking.recommended), wanted=explain)
    page = page_or_problem(lambda: write_leaderboard(home, manifest, board, explained))
    shipped = train(**dict(request_of(config, ranking.of(ranking.recommended)))) if ship else None

    stages = {"ingest": images, "manifest": manifest, "publish": board, "explain": explained, "page": page}
    return finished(collect(str(flow_run.id or ""), board, page, shipped, stages))
