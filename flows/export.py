"""From a registered version to a folder that runs elsewhere, compared with the version on its test images."""

from prefect import flow
from prefect.runtime import flow_run

from flows.config import GateConfig, ModelAddress
from flows.export_config import ExportConfig, ExportFormat, MetricLoss
from flows.export_result import ExportResult, collect, finished, judged
from flows.orphaned_runs import begin
from tasks.bundle_export.task import compare_export, find_version, make_export, publish_export, require_exportable


@flow(name="export", persist_result=False)
def export(
    model: ModelAddress,
    format: ExportFormat = "onnx",
    output: str = "",
    max_metric_loss: MetricLoss = 0.01,
    gate: GateConfig = GateConfig(),  # noqa: B008 - frozen, and the form shows its fields
) -> ExportResult:
    """Write a registered version in a format that runs elsewhere; refused when it is no longer good enough.

    Args:
        model: The registered version: NAME@ALIAS, NAME/VERSION, or the same after models:/.
        format: What to write.
        output: Folder to write to; empty takes one in Keeneye's home.
        max_metric_loss: The largest loss of macro-F1 or mAP50 on the test images, absolute.
        gate: What the exported model must reach.
    """
    config = ExportConfig(model=model, format=format, output=output, max_metric_loss=max_metric_loss, gate=gate)
    require_exportable(config.format, config.output)
    home = begin()

    source = find_version(home, config.model)
    made = make_export(home, source, config.format)
    compared = compare_export(source, made)
    verdict = judged(compared, gate)
    published = publish_export(home, source, made, compared, verdict, config.max_metric_loss, config.output)

    stages = {"find": source, "make": made, "compare": compared, "publish": published}
    return finished(collect(str(flow_run.id or ""), published, stages))
