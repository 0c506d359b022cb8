"""The result of an export: the JSON line on stdout, what `export()` returns."""

from collections.abc import Mapping
from typing import cast

from prefect.states import Completed

from flows.config import GateConfig
from tasks.bundle_export.records import Comparison, ExportReport, PublishedExport
from tasks.evaluate.gate import judge_metrics
from tasks.evaluate.records import GateVerdict
from tasks.stores.content import StageRecord


class ExportResult(ExportReport, frozen=True):
    """Everything a caller needs to know of one export: its report, and what this run was.

    Attributes:
        seconds: wall time by stage, of this run.
        reused: by stage, whether its output was there already.
    """

    prefect_flow_run_id: str
    seconds: dict[str, float]
    reused: dict[str, bool]


def judged(comparison: Comparison, gate: GateConfig) -> GateVerdict:
    """Judge the export's figures as those of a training are judged."""
    return judge_metrics(comparison.metrics, gate.model_dump())


def finished(result: ExportResult) -> ExportResult:
    """Let the Prefect UI show the status as the run's state; a caller of the flow still gets the result itself."""
    message = "; ".join(result.reasons) or f"{result.model_uri} as {result.format} in {result.folder}"
    # Prefect hands a caller the state's data.
    return cast(ExportResult, Completed(name=result.status.capitalize(), message=message, data=result))


def collect(flow_run_id: str, published: PublishedExport, stages: Mapping[str, StageRecord]) -> ExportResult:
    """Assemble the result from the stages' records."""
    return ExportResult.model_validate(
        {
            **published.report.model_dump(),
            "prefect_flow_run_id": flow_run_id,
            "seconds": {name: record.seconds for name, record in stages.items()},
            "reused": {name: record.reused for name, record in stages.items()},
        }
    )
