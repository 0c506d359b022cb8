"""Ingest, as Prefect runs it: read the source, check every file, keep the index and the findings."""

from pathlib import Path

from flows.config import DataConfig
from tasks import engine
from tasks.dataset.entries import write_index
from tasks.dataset.findings import count_by_code, write_findings
from tasks.errors import SourceChanged
from tasks.ingest.checks import ImageLimits
from tasks.ingest.layouts import list_source
from tasks.ingest.read import check_source, content_digest, require_enough_valid, without_test_images
from tasks.ingest.records import FINDINGS_FILE, IMAGES_FILE, TEST_IMAGES_FILE, IngestedImages
from tasks.ingest.sources import default_dataset_name, open_source
from tasks.stores.content import StageKey, digest_of
from tasks.stores.home import Home

STAGE_VERSION = "1"


@engine.stage("ingest images")
def ingest_images(home: Home, data: DataConfig) -> IngestedImages:
    """Read and check the source (and the test source), leaving bad files out as findings."""
    roots = [open_source(source, home.store) for source in (data.source, data.test_source) if source]
    listings = [list_source(root) for root in roots]
    limits = ImageLimits(data.min_side_pixels, data.max_megapixels, data.max_file_megabytes)
    digests = list(map(content_digest, roots, listings))
    key = StageKey(
        stage="ingest",
        version=STAGE_VERSION,
        inputs={"roots": [str(root) for root in roots], "contents": digests, "name": data.name},
        config={"limits": [limits.min_side_pixels, limits.max_megapixels, limits.max_file_megabytes]},
        libraries=("pillow",),
    )

    def make(folder: Path) -> IngestedImages:
        with engine.progress("check images", "images") as report:
            sources = [
                check_source(root, listing.files, limits, report) for root, listing in zip(roots, listings, strict=True)
            ]
        if list(map(content_digest, roots, listings)) != digests:
            raise SourceChanged(f"files of {roots[0]} changed while they were read; start the run again")
        if len(sources) == 2:
            sources[0] = without_test_images(*sources)
            write_index(folder / TEST_IMAGES_FILE, sources[1].entries)
        write_index(folder / IMAGES_FILE, sources[0].entries)
        findings = [finding for listing in listings for finding in listing.findings]
        findings += [finding for source in sources for finding in source.findings]
        write_findings(folder / FINDINGS_FILE, findings)
        invalid = [
            {finding.source_ref for finding in (*listing.findings, *source.findings) if finding.severity == "error"}
            for listing, source in zip(listings, sources, strict=True)
        ]
        refused = [
            {finding.source_ref for finding in listing.findings if finding.severity == "error"} for listing in listings
        ]
        return IngestedImages(
            dataset_name=data.name or default_dataset_name(data.source),
            root=str(roots[0]),
            test_root=str(roots[1]) if len(roots) == 2 else "",
            layout=listings[0].layout,
            content_digest=digest_of(digests),
            listed=sum(len(listing.files) for listing in listings) + sum(map(len, refused)),
            usable=sum(len(source.entries) for source in sources),
            invalid=sum(map(len, invalid)),
            findings=count_by_code(findings),
        )

    record, path = home.store.reuse_or_make(key, IngestedImages, make)
    record = record.model_copy(update={"entry_path": str(path)})
    _tell(record)
    findings_path = str(path / FINDINGS_FILE)
    require_enough_valid(record.listed, record.invalid, data.max_invalid_fraction, findings_path)
    return record


def _tell(record: IngestedImages) -> None:
    log = engine.logger()
    log.info(
        "%s: %d usable images of %d files in %s layout%s",
        record.dataset_name,
        record.usable,
        record.listed,
        record.layout,
        " (checked before)" if record.reused else "",
    )
    if record.findings:
        rows = [{"code": code, "files": count} for code, count in record.findings.items()]
        engine.publish_table("findings", rows, f"What was found in {record.root}")
        log.warning("findings: %s", ", ".join(f"{code} {count}" for code, count in record.findings.items()))
