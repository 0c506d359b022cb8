"""Run the stages up to the export, and read back what it left."""

import json
from dataclasses import dataclass
from pathlib import Path

from flows.config import GroundTruthConfig
from tasks.dataset.entries import SPLITS, ImageEntry
from tasks.dataset.findings import Finding, read_findings
from tasks.export.records import FINDINGS_FILE, SUMMARY_FILE, ExportedGroundTruth
from tasks.export.task import export_ground_truth
from tasks.export.validation import TESTING_FILE, TRAINING_FILE
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.records import Manifest
from tasks.manifest.task import build_manifest
from tasks.report.task import write_data_report
from tasks.stores.home import Home


@dataclass(frozen=True)
class Exported:
    """One export and the manifest it was made from."""

    record: ExportedGroundTruth
    manifest: Manifest

    @property
    def folder(self) -> Path:
        return Path(self.record.folder)

    @property
    def entries(self) -> dict[str, ImageEntry]:
        """All images, by digest."""
        return {entry.sha256: entry for entries in self.divided.values() for entry in entries}

    @property
    def divided(self) -> dict[str, list[ImageEntry]]:
        return {split: list(read_manifest(self.manifest.manifest_path(split))) for split in SPLITS}

    @property
    def findings(self) -> list[Finding]:
        return read_findings(self.folder / FINDINGS_FILE)

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / SUMMARY_FILE).read_text())

    @property
    def training(self) -> list[dict]:
        """Lines of the annotated training manifest."""
        return lines_of(self.folder / TRAINING_FILE)

    @property
    def testing(self) -> list[dict]:
        return lines_of(self.folder / TESTING_FILE)


def lines_of(path: Path) -> list[dict]:
    """Return the objects of a manifest; none when there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def build(home: Home, data: dict, task: str = "auto") -> Manifest:
    """Run ingest and manifest."""
    config = GroundTruthConfig(data=data, task=task)
    return build_manifest.fn(home, ingest_images.fn(home, config.data), config.data, config.masks, config.task)


def export(home: Home, source: Path, output: Path, *, data: dict | None = None, **options: object) -> Exported:
    """Run all stages of the flow."""
    config = GroundTruthConfig(data={"source": str(source), **(data or {})}, output=str(output), **options)
    images = ingest_images.fn(home, config.data)
    manifest = build_manifest.fn(home, images, config.data, config.masks, config.task)
    described = write_data_report.fn(home, images, manifest, config.data, config.masks)
    return Exported(export_ground_truth.fn(home, images, manifest, described, config), manifest)
