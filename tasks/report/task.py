"""The reports, as Prefect runs them: gather what the stages left, render HTML pages, leave them for people."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from flows.config import DataConfig, MaskConfig
from tasks import engine
from tasks.bundle.format import read_model_card
from tasks.dataset.entries import SPLITS, ImageEntry, Split
from tasks.evaluate.records import Evaluation, read_predictions
from tasks.explain.records import Explanation
from tasks.ground_truth.manifests import read_manifest
from tasks.inference_test.records import InferenceTest
from tasks.ingest.records import IngestedImages
from tasks.manifest.records import Manifest, read_all_findings
from tasks.register.records import RegisteredVersion
from tasks.report.contact_sheets import sheet_uri, write_contact_sheets
from tasks.report.data_inputs import DataReportInputs
from tasks.report.data_render import render_data_report
from tasks.report.inputs import OutOfFoldPrediction, ReportInputs
from tasks.report.records import DATA_REPORT_FILE, PICTURES_FOLDER, DataReport, WrittenReport
from tasks.report.render import render_report, view_of
from tasks.stores.content import StageKey, write_atomically
from tasks.stores.home import Home
from tasks.tracking.runs import log_data_report, log_report
from tasks.train.records import OUT_OF_FOLD_FILE, TrainedModel
from tasks.vision.masks import MaskOptions

DATA_REPORT_VERSION = "1"
SHEETS_IN_ARTIFACT = 8
SHEET_WIDTH_PIXELS = 900
CHOSEN_IN_WORDS = {"strength": "Regularisation strength"}
"""Names of what training chose that do not speak for themselves."""
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "onnxruntime",
    "scikit-learn",
    "opencv-python-headless",
    "pillow",
    "prefect",
    "mlflow",
)


@engine.stage("write data report")
def write_data_report(
    home: Home, images: IngestedImages, manifest: Manifest, data: DataConfig, masks: MaskConfig
) -> DataReport:
    """Write the data report of a manifest and a contact sheet of every label, with boxes and masks drawn."""
    key = StageKey(
        stage="data_report",
        version=DATA_REPORT_VERSION,
        inputs={"images": images.key, "manifest": manifest.key, "roots": manifest.roots},
        config={"rules": data.rules, "masks": masks.model_dump()},
        libraries=("keeneye", "jinja2", "pillow", "opencv-python-headless"),
    )

    def make(folder: Path) -> DataReport:
        entries, options = _entries(manifest), MaskOptions(**masks.model_dump())
        roots = {split: Path(root) for split, root in manifest.roots.items()}
        inputs = DataReportInputs(
            dataset_name=manifest.dataset_name,
            digest=manifest.dataset_digest,
            parent_digest=manifest.parent_digest,
            task=manifest.task,
            labels=manifest.labels,
            entries=entries,
            roots=roots,
            findings=read_all_findings(images, manifest),
            listed=images.listed,
            usable=sum(len(entries[split]) for split in SPLITS),
            invalid=images.invalid + manifest.invalid,
            layout=images.layout,
            validation_mode=data.rules,
            group_count=manifest.groups,
            largest_groups=json.loads(manifest.groups_path.read_text(encoding="utf-8")),
            provenance=_data_provenance(images, manifest, data),
            mask_options=options,
            is_multi_label=manifest.is_multi_label,
        )
        with engine.progress("draw the data report", "pages") as report:
            sheets = write_contact_sheets(folder / PICTURES_FOLDER, manifest.labels, entries, roots, options)
            report(1, 2)
            (folder / DATA_REPORT_FILE).write_text(render_data_report(inputs), encoding="utf-8")
            report(2, 2)
        return DataReport(pictures=len(sheets))

    record, path = home.store.reuse_or_make(key, DataReport, make)
    record = record.model_copy(update={"entry_path": str(path)})
    engine.publish_markdown("data report", _data_summary(images, manifest, record))
    engine.logger().info("data report: %s", record.report_path)
    return record


@engine.stage("write report")
def write_report(
    home: Home,
    images: IngestedImages,
    manifest: Manifest,
    model: TrainedModel,
    evaluation: Evaluation,
    trial: InferenceTest,
    version: RegisteredVersion,
    described: DataReport,
    explained: Explanation,
) -> WrittenReport:
    """Write the HTML report of a run and attach it, with the data report, to the MLflow run."""
    inputs: ReportInputs[Any] = ReportInputs(
        task=manifest.task,
        model_name=version.model_name,
        model_version=version.model_version,
        status=version.status,
        labels=manifest.labels,
        metrics=evaluation.metrics,
        gate=evaluation.gate,
        inference=trial.outcome,
        predictions=list(read_predictions(evaluation.predictions_path)),
        out_of_fold=_out_of_fold(Path(model.entry_path) / OUT_OF_FOLD_FILE),
        entries=_entries(manifest),
        roots={split: Path(root) for split, root in manifest.roots.items()},
        findings=read_all_findings(images, manifest),
        figures_path=evaluation.figures_path,
        provenance=_provenance(images, manifest, model, version),
        input_size=model.input_size,
        chosen=model.chosen,
        history=model.history,
        staging_reasons=version.reasons if evaluation.gate.passed and trial.outcome.passed else (),
        comparison=version.comparison,
        trials={one.name: one.log_loss for one in model.trials if one.log_loss is not None},
        untried={one.name: one.note for one in model.trials if one.log_loss is None},
        kept=next((one.name for one in model.trials if one.kept), ""),
        explained=explained.maps,
    )
    path = home.reports_path / version.model_name / version.model_version / "report.html"
    write_atomically(path, render_report(inputs))
    log_report(home, version.mlflow_run_id, path)
    log_data_report(home, version.mlflow_run_id, Path(described.entry_path))
    engine.publish_markdown("report", _summary(inputs, path, version.mlflow_run_id))
    engine.logger().info("report: %s", path)
    return WrittenReport(report_path=str(path))


def _entries(manifest: Manifest) -> dict[Split, Sequence[ImageEntry]]:
    return {split: list(read_manifest(manifest.manifest_path(split))) for split in SPLITS}


def _data_provenance(images: IngestedImages, manifest: Manifest, data: DataConfig) -> Mapping[str, str]:
    return {
        "Source": images.root,
        "Manifest digest": manifest.manifest_digest,
        "Split": data.split,
        "Keeneye": installed_version("keeneye"),
    }


def _data_summary(images: IngestedImages, manifest: Manifest, record: DataReport) -> str:
    boxes = sum(count for split in SPLITS for count in manifest.boxes[split].values())
    lines = [
        f"# {manifest.dataset_name}: {manifest.task}",
        f"- {', '.join(f'{manifest.totals[split]} {split}' for split in SPLITS)}",
        f"- {len(manifest.labels)} labels, {boxes} boxes, {manifest.groups} groups",
        f"- {sum(images.findings.values()) + sum(manifest.findings.values())} findings",
        f"- report `{record.report_path}`",
    ]
    sheets = sorted(record.pictures_path.iterdir())[:SHEETS_IN_ARTIFACT]
    return _with_pictures(lines, ((sheet.stem, sheet_uri(sheet, SHEET_WIDTH_PIXELS)) for sheet in sheets))


def _with_pictures(lines: Sequence[str], pictures: Iterable[tuple[str, str]]) -> str:
    # File names may hold what Markdown takes for its own.
    named = ((re.sub(r"[^\w ,.:/-]", "_", title), uri) for title, uri in pictures)
    return "\n".join([*lines, "", *(f"![{title}]({uri})\n" for title, uri in named)])


def _out_of_fold(path: Path) -> list[OutOfFoldPrediction]:
    if not path.is_file():
        return []
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [OutOfFoldPrediction(row["source_ref"], tuple(row["truth"]), row["confidences"]) for row in rows]


def _provenance(
    images: IngestedImages, manifest: Manifest, model: TrainedModel, version: RegisteredVersion
) -> Mapping[str, str]:
    return {
        "Registered model": f"{version.model_name}, version {version.model_version}",
        "MLflow run": version.mlflow_run_id,
        "Source": images.root,
        "Layout": images.layout,
        "Dataset": f"{manifest.dataset_name}, version {manifest.dataset_digest}",
        "Parent version": manifest.parent_digest or "none, this is the first",
        **({"Labels per image": "any number"} if manifest.is_multi_label else {}),
        "Bundle digest": model.bundle_digest,
        "Run key": version.run_key,
        "Input size": f"{model.input_size} pixels square",
        "Preprocessing": ", ".join(step.name for step in read_model_card(model.bundle_path).steps),
        "Seed": str(model.seed),
        **{
            _in_words(name): f"{value:g}" if isinstance(value, float) else str(value)
            for name, value in model.chosen.items()
        },
        "Difference of bundle and trained model": f"{model.parity_difference:.1e}",
        "Keeneye": installed_version("keeneye"),
        **{library: installed_version(library) for library in LIBRARIES},
    }


def _in_words(name: str) -> str:
    return CHOSEN_IN_WORDS.get(name, name.replace("_", " ").capitalize())


def _summary(inputs: ReportInputs[Any], path: Path, mlflow_run_id: str) -> str:
    view = view_of(inputs)
    reasons = (*inputs.gate.reasons, *inputs.inference.reasons, *inputs.staging_reasons)
    lines = [
        f"# {inputs.model_name} version {inputs.model_version}: {inputs.status}",
        *(f"- {line}" for line in view.headline(inputs)),
        f"- inference test {'passed' if inputs.inference.passed else 'failed'}",
        f"- MLflow run `{mlflow_run_id}`",
        f"- report `{path}`",
        *([f"- {inputs.comparison.sentence}"] if inputs.comparison else []),
        *(f"- {inputs.status}: {reason}" for reason in reasons),
    ]
    pictures = list(view.pictures(inputs))
    return _with_pictures(lines, pictures) if pictures else "\n".join(lines)
