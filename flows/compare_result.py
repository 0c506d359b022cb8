"""The result of a comparison: the table on stdout, what `compare()` returns."""

from collections.abc import Mapping
from typing import Literal, cast

from prefect.states import Completed
from pydantic import BaseModel

from flows.result import TrainResult
from tasks.compare.records import WINNER_FILE, Leaderboard, Ranking
from tasks.compare.table import as_text
from tasks.report.records import WrittenReport
from tasks.stores.content import StageRecord


class CompareResult(BaseModel, frozen=True):
    """Everything a caller needs to know of one comparison.

    Attributes:
        status: `compared`, or that of the model that was shipped: `staged`, `registered`, `rejected`.
        ranking: the candidates, the most accurate first, those that were stopped or failed last; and which to prefer.
        winner_path: the request of the recommended one, for `keeneye train --config`.
        report_path: the page; empty when it could not be made.
        warnings: what went wrong without touching the comparison; a sentence each.
        shipped: the training that followed, when it was asked for.
        seconds: wall time by stage, of this run.
    """

    schema_version: int = 1
    status: Literal["compared", "staged", "registered", "rejected"]
    dataset_name: str
    dataset_digest: str
    images: int
    folds: int
    ranking: Ranking
    winner_path: str
    report_path: str
    warnings: tuple[str, ...] = ()
    mlflow_run_id: str
    prefect_flow_run_id: str
    shipped: TrainResult | None
    seconds: dict[str, float]

    def table(self) -> str:
        """Return what people read: the leaderboard, and what to do next."""
        lines = [as_text(self.ranking), "", *self.ranking.advice]
        lines += [f"Page: {self.report_path}"] if self.report_path else []
        lines += [f"Warning: {warning}" for warning in self.warnings]
        if self.shipped:
            reasons = "".join(f"\n  {reason}" for reason in self.shipped.reasons)
            return "\n".join([*lines, f"Shipped: {self.shipped.model_uri} is {self.shipped.status}{reasons}"])
        return "\n".join([*lines, f"Train it: keeneye train --config {self.winner_path}"])


def finished(result: CompareResult) -> CompareResult:
    """Let the Prefect UI show the status as the run's state; a caller of the flow still gets the result itself."""
    # Prefect hands a caller the state's data.
    return cast(
        CompareResult, Completed(name=result.status.capitalize(), message=" ".join(result.ranking.advice), data=result)
    )


def collect(
    flow_run_id: str,
    board: Leaderboard,
    page: WrittenReport,
    shipped: TrainResult | None,
    stages: Mapping[str, StageRecord],
) -> CompareResult:
    """Assemble the result from the stages' records."""
    ranking = board.ranking
    return CompareResult(
        status=shipped.status if shipped else "compared",
        dataset_name=board.dataset_name,
        dataset_digest=board.dataset_digest,
        images=board.images,
        folds=ranking.of(ranking.most_accurate).folds,
        ranking=ranking,
        winner_path=f"{board.folder}/{WINNER_FILE}",
        report_path=page.report_path,
        warnings=(*page.warnings, *(shipped.warnings if shipped else ())),
        mlflow_run_id=board.mlflow_run_id,
        prefect_flow_run_id=flow_run_id,
        shipped=shipped,
        seconds={name: record.seconds for name, record in stages.items()},
    )
