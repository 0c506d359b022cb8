"""The export of a registered bundle, as Prefect runs it: found, made in the content store, compared, put in place."""

from pathlib import Path

from tasks import engine
from tasks.bundle.predictor import BATCH_SIZE, Predictor
from tasks.bundle_export.answers import answer_both, prepared_batches
from tasks.bundle_export.documents import markdown, rows
from tasks.bundle_export.figures import TIMED_IMAGES, megabytes, milliseconds_per_image
from tasks.bundle_export.folder import files_below, publish, require_own_folder
from tasks.bundle_export.formats import LIBRARIES, open_export, require_format, write_export
from tasks.bundle_export.limits import reasons_against
from tasks.bundle_export.lineage import find_again, find_source
from tasks.bundle_export.parity import measure_parity
from tasks.bundle_export.records import (
    EXPORT_FOLDER,
    REPORT_FILE,
    TABLE_FILE,
    Comparison,
    ExportedBundle,
    ExportFormat,
    ExportReport,
    ExportSource,
    FoundVersion,
    ModelFigures,
    PublishedExport,
)
from tasks.errors import RequestError
from tasks.evaluate.records import GateVerdict
from tasks.ground_truth.manifests import read_manifest
from tasks.metrics.answers import headline, measure_answers
from tasks.stores.content import StageKey
from tasks.stores.home import Home
from tasks.stores.s3_objects import is_object_address

STAGE_VERSION = "1"


def require_exportable(format_name: ExportFormat, output: str) -> None:
    """Refuse, before any work is done, what the request alone shows to be impossible.

    Raises:
        RequestError: when OpenVINO is wanted and not installed, or the folder for output is none of this machine's or
            holds files of others.
    """
    require_format(format_name)
    if is_object_address(output):
        raise RequestError(f"an export goes to a folder of this machine; name one as --output, and send it to {output}")
    if output:
        require_own_folder(Path(output).expanduser().resolve())


@engine.stage("find version")
def find_version(home: Home, model_uri: str) -> ExportSource:
    """Fetch a registered bundle, and find the images that it learned from and was measured on."""
    with engine.progress("fetch images", "objects") as report:
        source = find_source(home, model_uri, report)
    engine.logger().info("%s: bundle %s", source.model_uri, source.bundle_digest[:12])
    return source


@engine.stage("find version again")
def find_version_again(home: Home, model_uri: str) -> FoundVersion:
    """Fetch the bundle of a version that was in use before; nothing else of it has to be there still."""
    found = find_again(home, model_uri)
    engine.logger().info("%s: bundle %s", found.model_uri, found.bundle_digest[:12])
    return found


@engine.stage("make export")
def make_export(home: Home, source: ExportSource, format_name: ExportFormat) -> ExportedBundle:
    """Write the export to the content store; what was made before is found again."""
    key = StageKey(
        stage="bundle_export",
        version=STAGE_VERSION,
        inputs={
            "bundle": source.bundle_digest,
            # 8-bit ranges come from training images; floats have none, but the README tells name and version.
            "manifest": source.manifest.manifest_digest,
            "version": source.model_uri,
        },
        config={"format": format_name},
        libraries=LIBRARIES[format_name],
    )

    def make(folder: Path) -> ExportedBundle:
        digest, calibration_images = write_export(folder / EXPORT_FOLDER, source, format_name)
        return ExportedBundle(format=format_name, digest=digest, calibration_images=calibration_images)

    record, path = home.store.reuse_or_make(key, ExportedBundle, make)
    engine.logger().info("%s: %s%s", format_name, record.digest[:12], ", made before" if record.reused else "")
    return record.model_copy(update={"entry_path": str(path)})


@engine.stage("compare export")
def compare_export(source: ExportSource, exported: ExportedBundle) -> Comparison:
    """Let the registered bundle and its export answer the same test images, and time them in turns."""
    manifest = source.manifest
    entries, root = list(read_manifest(manifest.manifest_path("test"))), Path(manifest.roots["test"])
    original = Predictor.open(Path(source.bundle_path), expected_digest=source.bundle_digest)
    other = open_export(exported)
    with engine.progress("compare on test images", "images") as report:
        before, after = answer_both(original, other, root, entries, report)
    timed = next(prepared_batches(original, root, entries[:BATCH_SIZE]), [])[:TIMED_IMAGES]
    times = milliseconds_per_image([original, other], timed)
    measured = [measure_answers(original.card, entries, one, source.model.cross_validated) for one in (before, after)]
    folders = (Path(source.bundle_path), exported.folder)
    figures = [
        ModelFigures(megabytes=megabytes(folder), milliseconds=milliseconds, metric=headline(metrics))
        for folder, milliseconds, metrics in zip(folders, times, measured, strict=True)
    ]
    return Comparison(
        original=figures[0],
        exported=figures[1],
        parity=measure_parity(original.card, before, after),
        metrics=measured[1],
    )


@engine.stage("publish export")
def publish_export(
    home: Home,
    source: ExportSource,
    exported: ExportedBundle,
    comparison: Comparison,
    verdict: GateVerdict,
    max_metric_loss: float,
    output: str,
) -> PublishedExport:
    """Put an export that keeps all limits in its folder, with its report; one that does not leaves nothing there."""
    target = Path(output).expanduser().resolve() if output else _default_folder(home, source, exported.format)
    report = _report(source, exported, comparison, verdict, max_metric_loss, target)
    table = rows(comparison, exported.format)
    engine.publish_table("export", table, f"{source.model_uri} as {exported.format}: {report.status}")
    if report.status == "exported":
        _place(home, exported, report, comparison, target)
    log = engine.logger()
    log.info("%s", "; ".join(" ".join(map(str, row.values())) for row in table))
    for reason in report.reasons:
        log.warning("rejected: %s", reason)
    return PublishedExport(report=report)


def _place(home: Home, exported: ExportedBundle, report: ExportReport, comparison: Comparison, target: Path) -> None:
    with home.store.scratch(f"export-{exported.digest[:16]}") as folder:
        for name in files_below(exported.folder):
            (folder / name).hardlink_to(exported.folder / name)
        (folder / REPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / TABLE_FILE).write_text(markdown(report, comparison), encoding="utf-8")
        require_own_folder(target)
        publish(folder, target)
    engine.logger().info("%d files in %s", len(report.files), target)


def _report(
    source: ExportSource,
    exported: ExportedBundle,
    comparison: Comparison,
    verdict: GateVerdict,
    max_metric_loss: float,
    target: Path,
) -> ExportReport:
    reasons = reasons_against(exported.format, comparison, verdict, max_metric_loss)
    files = () if reasons else tuple(sorted({*files_below(exported.folder), REPORT_FILE, TABLE_FILE}))
    return ExportReport(
        status="rejected" if reasons else "exported",
        reasons=reasons,
        format=exported.format,
        folder="" if reasons else str(target),
        digest=exported.digest,
        files=files,
        model_name=source.model_name,
        model_version=source.model_version,
        model_uri=source.model_uri,
        bundle_digest=source.bundle_digest,
        task=source.manifest.task,
        dataset_name=source.manifest.dataset_name,
        dataset_digest=source.manifest.dataset_digest,
        calibration_images=exported.calibration_images,
        metric=comparison.metric_name,
        metric_loss=comparison.metric_loss,
        max_metric_loss=max_metric_loss,
        original=comparison.original,
        exported=comparison.exported,
        parity=comparison.parity,
        metrics=comparison.metrics,
        gate=verdict,
    )


def _default_folder(home: Home, source: ExportSource, format_name: ExportFormat) -> Path:
    return home.root / "exports" / source.model_name / source.model_version / format_name
