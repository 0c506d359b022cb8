"""Ingest, as Prefect runs it: read the source, check every image, keep the index and the findings."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.config import DataConfig, ShardsConfig
from tasks import engine
from tasks.annotations.references import RewriteRule
from tasks.dataset.entries import write_index
from tasks.dataset.findings import Finding, count_by_code, require_enough_valid, write_findings
from tasks.errors import DataError, SourceChanged
from tasks.ground_truth.read import is_of_line
from tasks.ingest.annotation_files import ReadingRules, split_named_by
from tasks.ingest.check_shards import save_thumbnails
from tasks.ingest.checks import CheckedFiles, ImageLimits
from tasks.ingest.layouts import Listing
from tasks.ingest.listing import list_source
from tasks.ingest.read import check_sources, hash_sources, manifest_digests
from tasks.ingest.records import (
    FINDINGS_FILE,
    IMAGES_FILE,
    LISTED_FILE,
    STATED_REFERENCES_FILE,
    TEST_IMAGES_FILE,
    THUMBNAILS_FILE,
    IngestedImages,
    ListedImages,
    write_listed,
)
from tasks.ingest.sources import OpenedSource, default_dataset_name, open_source, with_images
from tasks.ingest.unlabelled import list_unlabelled
from tasks.shards.runner import ShardRunner, open_runner
from tasks.stores.content import StageKey, digest_of
from tasks.stores.home import Home

STAGE_VERSION = "4"
LISTING_VERSION = "1"


@engine.stage("ingest images")
def ingest_images(home: Home, data: DataConfig, shards: ShardsConfig = ShardsConfig()) -> IngestedImages:  # noqa: B008
    """Read and check the source (and the test source), leaving bad images out as findings."""
    with open_runner(home.store.root, shards) as runner:
        record, path = _ingested(home, data, runner)
    record = record.model_copy(update={"entry_path": str(path)})
    _tell(record)
    require_enough_valid(record.listed, record.invalid, data.max_invalid_fraction, path / FINDINGS_FILE)
    return record


def _ingested(home: Home, data: DataConfig, runner: ShardRunner) -> tuple[IngestedImages, Path]:
    with engine.progress("fetch images", "objects") as report:
        opened = [_open_and_list(home, source, data, report) for source in (data.source, data.test_source) if source]
    sources, listings = [source for source, _ in opened], [listing for _, listing in opened]
    roots = [source.root for source in sources]
    limits, name = _limits(data), data.name or default_dataset_name(data.source)
    with engine.progress("hash images", "images") as report:
        hashed = hash_sources(roots, listings, report, runner)
    digests = [one.digest for one in hashed]
    key = StageKey(
        stage="ingest",
        version=STAGE_VERSION,
        inputs={"roots": [str(root) for root in roots], "contents": digests, "name": name},
        config={"limits": repr(limits), "rules": data.rules},
        libraries=("pillow", "opencv-python-headless"),
    )

    def make(folder: Path) -> IngestedImages:
        with engine.progress("check images", "images") as report:
            checked = check_sources(home.store, hashed, limits, report, runner)
        # What is checked is held against its digest; manifests were read before.
        if [manifest_digests(listing) for listing in listings] != [one.manifests for one in hashed]:
            raise SourceChanged(f"manifests of {roots[0]} changed while they were read; start the run again")
        for file_name, one in zip((IMAGES_FILE, TEST_IMAGES_FILE), checked, strict=False):
            write_index(folder / file_name, one.entries)
        save_thumbnails(folder / THUMBNAILS_FILE, [small for one in checked for small in one.thumbnails])
        findings = list(_all_findings(listings, checked))
        write_findings(folder / FINDINGS_FILE, findings)
        _write_stated_references(folder, listings)
        entries = [entry for one in checked for entry in one.entries]
        return IngestedImages(
            dataset_name=name,
            root=str(roots[0]),
            test_root=str(roots[1]) if len(roots) == 2 else "",
            layout=listings[0].layout,
            has_boxes=any(entry.truth.boxes or entry.mask_ref for entry in entries),
            annotation_files=tuple(path for listing in listings for path in listing.manifests),
            test_annotation_files=_for_testing(sources, listings),
            content_digest=digest_of(digests),
            listed=sum(map(_listed, listings)),
            usable=len(entries),
            invalid=sum(map(_invalid, listings, checked)),
            findings=count_by_code(findings),
        )

    return home.store.reuse_or_make(key, IngestedImages, make)


@engine.stage("list images")
def list_images(home: Home, source: str, image_root: str = "", rewrite: Sequence[str] = ()) -> ListedImages:
    """List the images of a source, labelled or not, without opening them."""
    rules = [RewriteRule.parse(text) for text in rewrite]
    with engine.progress("fetch images", "objects") as report:
        opened = open_source(source, home.store, image_root, report)
        images, findings = list_unlabelled(opened, rules)
        if opened.is_partial:
            opened = with_images(opened, [image.source_ref for image in images], home.store, report)
            images, findings = list_unlabelled(opened, rules)
    key = StageKey(
        stage="list",
        version=LISTING_VERSION,
        inputs={
            "root": str(opened.root),
            "name": default_dataset_name(source),
            "images": digest_of(images),
            "findings": digest_of([finding.model_dump() for finding in findings]),
        },
        config={},
    )

    def make(folder: Path) -> ListedImages:
        write_listed(folder / LISTED_FILE, images)
        write_findings(folder / FINDINGS_FILE, findings)
        return ListedImages(
            name=default_dataset_name(source),
            root=str(opened.root),
            images=len(images),
            invalid=sum(finding.severity == "error" for finding in findings),
            findings=count_by_code(findings),
        )

    record, path = home.store.reuse_or_make(key, ListedImages, make)
    record = record.model_copy(update={"entry_path": str(path)})
    if not record.images:
        told = f"; see {record.findings_path}" if findings else ""
        raise DataError(
            f"{source} holds no image that could be read{told}", findings_path=told and str(record.findings_path)
        )
    engine.logger().info("%d images in %s", record.images, record.root)
    return record


def _open_and_list(home: Home, source: str, data: DataConfig, report: engine.Report) -> tuple[OpenedSource, Listing]:
    rules = ReadingRules(mode=data.rules, group_by=data.group_by)
    rewrite = [RewriteRule.parse(text) for text in data.rewrite]
    opened = open_source(source, home.store, data.image_root, report)
    listing = list_source(opened, rewrite, rules)
    if opened.is_partial:
        refs = [ref for file in listing.files for ref in (file.source_ref, file.mask_ref) if ref]
        opened = with_images(opened, refs, home.store, report)
        listing = list_source(opened, rewrite, rules)
    return opened, listing


def _all_findings(listings: Sequence[Listing], checked: Sequence[CheckedFiles]) -> Iterator[Finding]:
    for place, (listing, one) in enumerate(zip(listings, checked, strict=True)):
        for finding in (*listing.findings, *one.findings):
            yield finding.model_copy(update={"in_test_source": place == 1})


def _for_testing(sources: Sequence[OpenedSource], listings: Sequence[Listing]) -> tuple[str, ...]:
    if len(listings) == 2:
        return listings[1].manifests
    folder = sources[0].folder
    refs = {path: Path(path).relative_to(folder).as_posix() for path in listings[0].manifests}
    named = tuple(path for path, ref in refs.items() if split_named_by(ref) == "test")
    # Where all are named so, the name tells them from nothing.
    return named if len(named) < len(refs) else ()


def _write_stated_references(folder: Path, listings: Sequence[Listing]) -> None:
    stated = {file.source_ref: file.stated_ref for listing in listings for file in listing.files if file.stated_ref}
    if stated:
        text = json.dumps(stated, ensure_ascii=False, sort_keys=True)
        (folder / STATED_REFERENCES_FILE).write_text(text, encoding="utf-8")


def _limits(data: DataConfig) -> ImageLimits:
    limits = ImageLimits(data.min_side_pixels, data.max_megapixels, data.max_file_megabytes)
    return limits.as_strict_as_custom_labels() if data.rules == "aws" else limits


def _items_with_errors(listing: Listing, findings: Sequence[Finding]) -> set[tuple[str, str]]:
    """Return the images with errors, and the lines of manifests that name no image; no manifest as a whole."""
    errors = [finding for finding in findings if finding.severity == "error"]
    of_files = [one for one in errors if one.source_ref in listing.row_files]
    images = {(one.source_ref, "") for one in errors if one.source_ref not in listing.row_files}
    return images | {(one.source_ref, one.message) for one in of_files if is_of_line(one)}


def _listed(listing: Listing) -> int:
    files = {(file.source_ref, "") for file in listing.files}
    return len(files | _items_with_errors(listing, listing.findings))


def _invalid(listing: Listing, checked: CheckedFiles) -> int:
    used = {(entry.source_ref, "") for entry in checked.entries}
    return len(_items_with_errors(listing, (*listing.findings, *checked.findings)) - used)


def _tell(record: IngestedImages) -> None:
    log = engine.logger()
    log.info(
        "%s: %d usable images of %d in %s layout%s",
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
