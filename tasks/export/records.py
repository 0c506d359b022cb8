"""What the export stage tells the stages after it."""

from tasks.stores.content import StageRecord

SUMMARY_FILE = "manifest_summary.json"
FINDINGS_FILE = "findings.jsonl"


class ExportedGroundTruth(StageRecord, frozen=True):
    """Ground truth that was written for a user.

    Attributes:
        folder: absolute path, or its address in an object store.
        format: of the files, such as `ground-truth`.
        files: references of all files below it.
        reasons: a sentence for each rule of the managed service that the dataset as a whole breaks; empty unless its
            rules were asked for.
        findings: number of findings by code, of all stages.
        report_path: the data report, in that folder.
        mlflow_run_id: the MLflow run that holds report and pictures.
    """

    folder: str
    format: str
    files: tuple[str, ...]
    reasons: tuple[str, ...]
    findings: dict[str, int]
    report_path: str
    mlflow_run_id: str
