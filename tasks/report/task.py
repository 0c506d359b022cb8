"""The report, as Prefect runs it: gather what the stages left, render one HTML page, leave it for people and MLflow."""

import json
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path

from tasks import engine
from tasks.dataset.entries import SPLITS
from tasks.dataset.findings import read_findings
from tasks.evaluate.records import Evaluation, read_predictions
from tasks.ground_truth.manifests import read_manifest
from tasks.inference_test.records import InferenceTest
from tasks.ingest.records import FINDINGS_FILE, IngestedImages
from tasks.manifest.records import Manifest
from tasks.register.records import RegisteredVersion
from tasks.report.inputs import OutOfFoldPrediction, ReportInputs
from tasks.report.records import WrittenReport
from tasks.report.render import render_report
from tasks.stores.content import write_atomically
from tasks.stores.home import Home
from tasks.tracking.runs import log_report
from tasks.train.records import OUT_OF_FOLD_FILE, TrainedModel

LIBRARIES = ("torch", "timm", "onnxruntime", "scikit-learn", "opencv-python-headless", "pillow", "prefect", "mlflow")


@engine.stage("write report")
def write_report(
    home: Home,
    images: IngestedImages,
    manifest: Manifest,
    model: TrainedModel,
    evaluation: Evaluation,
    trial: InferenceTest,
    version: RegisteredVersion,
) -> WrittenReport:
    """Write the HTML report of a run and attach it to the MLflow run."""
    inputs = ReportInputs(
        model_name=version.model_name,
        model_version=version.model_version,
        status=version.status,
        labels=manifest.labels,
        metrics=evaluation.metrics,
        gate=evaluation.gate,
        inference=trial.outcome,
        predictions=list(read_predictions(evaluation.predictions_path)),
        out_of_fold=_out_of_fold(Path(model.entry_path) / OUT_OF_FOLD_FILE),
        entries={split: list(read_manifest(manifest.manifest_path(split))) for split in SPLITS},
        roots={split: Path(root) for split, root in manifest.roots.items()},
        findings=read_findings(Path(images.entry_path) / FINDINGS_FILE),
        figures_path=evaluation.figures_path,
        provenance=_provenance(images, manifest, model, version),
    )
    path = home.reports_path / version.model_name / version.model_version / "report.html"
    write_atomically(path, render_report(inputs))
    log_report(home, version.mlflow_run_id, path)
    engine.publish_markdown("report", _summary(inputs, path, version.mlflow_run_id))
    engine.logger().info("report: %s", path)
    return WrittenReport(report_path=str(path))


def _out_of_fold(path: Path) -> list[OutOfFoldPrediction]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [OutOfFoldPrediction(**json.loads(line)) for line in lines]


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
        "Bundle digest": model.bundle_digest,
        "Run key": version.run_key,
        "Input size": f"{model.input_size} pixels square",
        "Seed": str(model.seed),
        "Regularisation strength": f"{model.strength:g}",
        "Difference of bundle and trained model": f"{model.parity_difference:.1e}",
        "Keeneye": installed_version("keeneye"),
        **{library: installed_version(library) for library in LIBRARIES},
    }


def _summary(inputs: ReportInputs, path: Path, mlflow_run_id: str) -> str:
    metrics, estimate = inputs.metrics, inputs.metrics.cross_validated
    lines = [
        f"# {inputs.model_name} version {inputs.model_version}: {inputs.status}",
        f"- accuracy {metrics.accuracy:.3f}, macro-F1 {metrics.macro_f1:.3f} on {len(inputs.predictions)} test images",
        f"- inference test {'passed' if inputs.inference.passed else 'failed'}",
        f"- MLflow run `{mlflow_run_id}`",
        f"- report `{path}`",
    ]
    if estimate:
        lines.insert(2, f"- cross-validated macro-F1 {estimate.macro_f1:.3f} ± {estimate.macro_f1_std:.3f}")
    reasons = (*inputs.gate.reasons, *inputs.inference.reasons)
    return "\n".join([*lines, *(f"- rejected: {reason}" for reason in reasons)])
