"""Export, as Prefect runs it: the ground truth in a user's folder, and its pictures in MLflow."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from flows.config import GroundTruthConfig
from tasks import engine
from tasks.dataset.entries import SPLITS, ImageEntry
from tasks.dataset.files import EXPORT_MARKER_NAME, read_image_bytes
from tasks.dataset.findings import Finding, count_by_code, write_findings
from tasks.dataset.groups import compile_group_pattern
from tasks.errors import RequestError
from tasks.export.formats import BOXES_ONLY, MANIFESTS, WITH_IMAGES, WRITERS, Export
from tasks.export.records import FINDINGS_FILE, ExportedGroundTruth
from tasks.export.validation import line_findings, stated_references, write_validation
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.records import IngestedImages
from tasks.manifest.records import Manifest, read_all_findings
from tasks.report.records import DATA_REPORT_FILE, PICTURES_FOLDER, DataReport
from tasks.stores.content import digest_of
from tasks.stores.home import Home
from tasks.stores.object_output import Output, output_at
from tasks.tracking.registry import DATASET_DIGEST_TAG
from tasks.tracking.runs import PREFECT_FLOW_RUN_TAG, experiment_of, run_of_key


def require_exportable(config: GroundTruthConfig) -> None:
    """Refuse, before any work is done, what the request alone shows to be impossible.

    Raises:
        RequestError: when the format holds boxes and the task gives none, or the folder for output holds files of
            others, cannot be written to, or lies in the source.
    """
    _require_room(config.format, config.task)
    if config.reference_prefix and config.format in WITH_IMAGES:
        raise RequestError(
            f"the format {config.format} holds copies of the images and no references; leave reference_prefix empty"
        )
    if "(" in config.data.group_by:
        compile_group_pattern(config.data.group_by)
    if config.output:
        output = output_at(config.output, EXPORT_MARKER_NAME)
        output.require_apart([config.data.source, config.data.test_source, config.data.image_root])
        output.require_own()


@engine.stage("export ground truth")
def export_ground_truth(
    home: Home, images: IngestedImages, manifest: Manifest, described: DataReport, config: GroundTruthConfig
) -> ExportedGroundTruth:
    """Write manifests (or another format), summary, annotated manifests, findings, pictures and report to a folder."""
    _require_room(config.format, manifest.task)
    output = _output(home, manifest, config)
    output.require_apart([images.root, images.test_root])
    with home.lock(f"export-{digest_of(output.address)[:16]}"):
        output.require_own()
        with output.unfinished() as folder:
            export = _export(folder, images, manifest, config)
            earlier, found = read_all_findings(images, manifest), WRITERS[config.format](export)
            reasons = write_validation(export, images, [*earlier, *found], config.data.rules)
            if config.format == MANIFESTS or not images.annotation_files:
                refused = line_findings(export, config.data.rules)
                found += refused
                if images.annotation_files:
                    # The summary speaks of the source's own lines; those written must be accepted too.
                    reasons += tuple(f"{one.code}: {one.message}" for one in refused if one.severity == "error")
            findings = [*earlier, *found]
            write_findings(folder / FINDINGS_FILE, findings)
            shutil.copytree(described.pictures_path, folder / PICTURES_FOLDER)
            shutil.copyfile(described.report_path, folder / DATA_REPORT_FILE)
            told = (folder / FINDINGS_FILE).read_text(encoding="utf-8")
            files = output.publish(folder)
    record = ExportedGroundTruth(
        folder=output.address,
        format=config.format,
        files=tuple(files),
        reasons=reasons,
        findings=count_by_code(findings),
        report_path=f"{output.address}/{DATA_REPORT_FILE}",
        mlflow_run_id=_log(home, manifest, described, told),
    )
    _tell(record, found)
    return record


def _tell(record: ExportedGroundTruth, found: Iterable[Finding]) -> None:
    log = engine.logger()
    log.info("%d files in %s", len(record.files), record.folder)
    for finding in found:
        log.warning("%s: %s", finding.code, finding.message)
    for reason in record.reasons:
        log.warning("rejected: %s", reason)


def _require_room(format_name: str, task: str) -> None:
    if task == "classification" and format_name in BOXES_ONLY:
        raise RequestError(
            f"the format {format_name} holds boxes, and this ground truth has labels of whole images; choose "
            "ground-truth or csv, or the task detection"
        )


def _export(folder: Path, images: IngestedImages, manifest: Manifest, config: GroundTruthConfig) -> Export:
    divided = {split: list(read_manifest(manifest.manifest_path(split))) for split in SPLITS}
    tested = {entry.sha256 for entry in divided["test"]}
    is_strict = config.data.rules == "aws"

    def place_image(entry: ImageEntry, target: Path) -> None:
        root = Path(manifest.roots["test" if entry.sha256 in tested else "train"])
        target.parent.mkdir(parents=True, exist_ok=True)
        # No link, for whoever edits the copy must not change the source.
        target.write_bytes(read_image_bytes(root, entry))

    return Export(
        folder=folder,
        divided=divided,
        labels=manifest.labels,
        job_name=f"keeneye/{manifest.dataset_name}",
        reference_prefix=config.reference_prefix,
        # What the managed service is to read must say where its images are, as the source's own lines do.
        stated_references=stated_references(images) if is_strict and not config.reference_prefix else {},
        place_image=place_image,
        with_service_key=not is_strict,
    )


def _output(home: Home, manifest: Manifest, config: GroundTruthConfig) -> Output:
    own = home.ground_truth_path / manifest.dataset_name / f"{manifest.task}-{config.format}"
    return output_at(config.output or str(own), EXPORT_MARKER_NAME)


def _log(home: Home, manifest: Manifest, described: DataReport, findings: str) -> str:
    """Leave report, pictures and manifests in the MLflow run of this manifest, made at its first export."""
    run_key = digest_of(["ground-truth", manifest.manifest_digest, described.key])
    name = f"{manifest.dataset_name}-{manifest.task}-data"
    with (
        home.lock(f"request-{run_key}"),
        run_of_key(home, experiment_of(manifest.dataset_name), run_key, name) as run,
    ):
        run.tag(PREFECT_FLOW_RUN_TAG, engine.flow_run_id())
        if not run.is_logged:
            counts = {f"{split}.images": float(manifest.totals[split]) for split in SPLITS}
            run.log_figures({"task": manifest.task}, counts, {DATASET_DIGEST_TAG: manifest.dataset_digest})
            run.log_file(described.report_path)
            run.log_files(described.pictures_path, PICTURES_FOLDER)
            run.log_text(findings, FINDINGS_FILE)
            for split in SPLITS:
                run.log_file(manifest.manifest_path(split), "manifests")
            run.mark_logged()
    return run.run_id
