"""The end of a comparison, as Prefect runs it: told in a folder, in MLflow and beside the run."""

from pathlib import Path
from typing import Any

import yaml

from flows.compare_config import CompareConfig
from flows.config import TrainConfig
from tasks import engine
from tasks.compare.records import LEADERBOARD_FILE, WINNER_FILE, Leaderboard, Ranking, Standing
from tasks.compare.table import rows_of
from tasks.manifest.records import Manifest
from tasks.stores.content import digest_of, write_atomically
from tasks.stores.home import Home
from tasks.tracking.runs import PREFECT_FLOW_RUN_TAG, Run, experiment_of, run_of_key

WINNER_HEADER = "# keeneye train --config winner.yaml\n"
FOLD_CURVES, ARTIFACTS_FOLDER = "fold", "comparison"
LOGGED_FIGURES = (
    *("macro_f1_mean", "macro_f1_std", "accuracy_mean", "accuracy_std"),
    *("fit_seconds", "ms_per_image", "bundle_bytes"),
)


@engine.stage("publish comparison")
def publish_comparison(home: Home, manifest: Manifest, ranking: Ranking, config: CompareConfig) -> Leaderboard:
    """Write the leaderboard and the winner's request, and log a run per candidate below one for all."""
    asked = config.model_dump(mode="json", include={"candidates", "folds", "trials", "training"})
    request = digest_of([manifest.manifest_digest, asked])
    # A run tells of one set of measurements: MLflow changes no parameter, and of two figures it would show the higher.
    measured = sorted((standing.candidate, standing.measured_at) for standing in ranking.standings)
    key = digest_of([request, measured])
    folder = home.comparisons_path / manifest.dataset_name / request[:12]
    winner = _settings(request_of(config, ranking.of(ranking.recommended)))
    write_atomically(folder / WINNER_FILE, WINNER_HEADER + yaml.safe_dump(winner, sort_keys=False, allow_unicode=True))
    experiment = experiment_of(manifest.dataset_name)
    with run_of_key(home, experiment, key, f"comparison of {manifest.dataset_name}") as run:
        for standing in ranking.standings:
            with run_of_key(home, experiment, digest_of([key, standing.candidate]), standing.candidate) as child:
                child.put_below(run)
                _log_candidate(child, standing, config)
        board = Leaderboard(
            dataset_name=manifest.dataset_name,
            dataset_digest=manifest.dataset_digest,
            labels=manifest.labels,
            images=manifest.totals["train"] + manifest.totals["validation"],
            ranking=ranking,
            folder=str(folder),
            mlflow_run_id=run.run_id,
        )
        write_atomically(folder / LEADERBOARD_FILE, board.model_dump_json(indent=2))
        _log_comparison(run, manifest, ranking, folder, config)
    engine.publish_table("leaderboard", rows_of(ranking), " ".join(ranking.advice))
    for sentence in ranking.advice:
        engine.logger().info(sentence)
    return board


def request_of(config: CompareConfig, standing: Standing) -> TrainConfig:
    """Return the training that a measured candidate stands for, with the options that its search settled on."""
    return config.request_of(standing.candidate, standing.options)


def _settings(request: TrainConfig) -> dict[str, Any]:
    """Return what differs from the defaults; a source's path holds wherever the command is given."""
    settings: dict[str, Any] = request.model_dump(mode="json", exclude_defaults=True)
    for field in ("source", "test_source", "image_root"):
        path = settings.get("data", {}).get(field)
        if path and Path(path).exists():
            settings["data"][field] = str(Path(path).resolve())
    return settings


def _log_comparison(run: Run, manifest: Manifest, ranking: Ranking, folder: Path, config: CompareConfig) -> None:
    best = ranking.of(ranking.most_accurate)
    run.log_figures(
        {"folds": best.folds, "candidates": len(ranking.standings)},
        {"macro_f1_mean": best.macro_f1_mean or 0.0},
        {
            "keeneye.recommended": ranking.recommended,
            "keeneye.most_accurate": ranking.most_accurate,
            "keeneye.dataset_digest": manifest.dataset_digest,
            "keeneye.budget": config.budget,
            PREFECT_FLOW_RUN_TAG: engine.flow_run_id(),
        },
    )
    run.log_files(folder, ARTIFACTS_FOLDER)


def _log_candidate(run: Run, standing: Standing, config: CompareConfig) -> None:
    params: dict[str, Any] = {"candidate": standing.candidate}
    if standing.outcome == "measured":
        # Of the others, what a search would settle on is not known.
        params |= request_of(config, standing).training.model_dump(mode="json", exclude_defaults=True)
    tags = {"keeneye.outcome": standing.outcome, "keeneye.note": standing.note}
    run.log_figures(params, _figures(standing), tags)
    folds = zip(standing.macro_f1, standing.accuracy, standing.measured_at, strict=True)
    rows = [
        {"epoch": number, "time": at, "macro_f1": macro_f1, "accuracy": accuracy}
        for number, (macro_f1, accuracy, at) in enumerate(folds)
    ]
    run.log_steps(rows, FOLD_CURVES)


def _figures(standing: Standing) -> dict[str, float]:
    found = standing.model_dump(include=set(LOGGED_FIGURES))
    return {name: float(value) for name, value in found.items() if value is not None}
