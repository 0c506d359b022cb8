"""From a registered version back to what it learned from: its manifests, its images, its training.

MLflow keeps the manifests of every run, and the store of the machine that trained keeps the records; the bytes of the
manifests tie the two together.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tasks.bundle.format import read_model_card
from tasks.bundle_export.records import ExportSource, FoundVersion
from tasks.dataset.entries import Split
from tasks.errors import DataError, RegistryError
from tasks.evaluate.records import Evaluation
from tasks.ground_truth.manifests import read_manifest
from tasks.manifest.records import Manifest
from tasks.stores.content import RECORD_NAME, StageRecord
from tasks.stores.home import Home
from tasks.stores.s3_cache import restore
from tasks.stores.s3_objects import Report
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, Registry, VersionInfo
from tasks.tracking.runs import logged_training
from tasks.train.records import TrainedModel

NEEDED_SPLITS: tuple[Split, ...] = ("train", "test")

R = TypeVar("R", bound=StageRecord)


def find_source(home: Home, model_uri: str, report: Report = lambda done, total: None) -> ExportSource:
    """Fetch a version's bundle and find the manifests, images and training behind it.

    Args:
        home: where to look.
        model_uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`; the scheme may be left out.
        report: called as images are fetched again that came from an object store and were let go since.

    Raises:
        RegistryError: when there is no such version, or Keeneye did not register it.
        BundleError: when the bundle is damaged.
        DataError: when manifests, images or training are not on this machine.
        RequestError: when the object store refuses the credentials.
        EnvironmentFailed: when MLflow or the object store does not answer.
    """
    info, bundle = _fetch(home, model_uri)
    run = logged_training(home, info.run_id)
    return ExportSource(
        **bundle.model_dump(exclude={"manifest", "predictions_path"}),
        manifest=_find_manifest(home, info, run.manifest_digest, report),
        model=_find_training(home, info, run.train_key),
        predictions_path=_find_predictions(home, bundle.bundle_digest, run.manifest_digest),
    )


def find_again(home: Home, model_uri: str) -> FoundVersion:
    """Fetch the bundle of a version that was in use before, and find what there is of the evidence for it.

    Looks at no image, and does without whatever has gone since.

    Raises:
        RegistryError: when there is no such version, or Keeneye did not register it.
        BundleError: when the bundle is damaged.
        EnvironmentFailed: when MLflow does not answer.
    """
    info, bundle = _fetch(home, model_uri)
    try:
        digest = logged_training(home, info.run_id).manifest_digest
    except RegistryError:  # the run was deleted
        return bundle
    # The same images may have been read from several places, of which some are gone.
    manifest = max(_manifests(home, digest), key=lambda one: Path(one.roots["test"]).is_dir(), default=None)
    predictions_path = _find_predictions(home, bundle.bundle_digest, digest)
    return bundle.model_copy(update={"manifest": manifest, "predictions_path": predictions_path})


def _fetch(home: Home, model_uri: str) -> tuple[VersionInfo, FoundVersion]:
    registry = Registry(home)
    info = registry.resolve(model_uri)
    bundle = registry.cached_bundle(info)
    digest = info.tags[BUNDLE_DIGEST_TAG]
    read_model_card(bundle, expected_digest=digest)
    fetched = FoundVersion(
        model_name=info.name,
        model_version=info.version,
        model_uri=info.uri,
        bundle_digest=digest,
        bundle_path=str(bundle),
    )
    return info, fetched


def _manifests(home: Home, digest: str) -> Iterator[Manifest]:
    for path, record in _records(home, "manifest", Manifest):
        if record.manifest_digest == digest:
            yield record.model_copy(update={"entry_path": str(path)})


def _find_manifest(home: Home, info: VersionInfo, digest: str, report: Report) -> Manifest:
    found = list(_manifests(home, digest))
    if not found:
        raise _elsewhere(info, f"its manifests {digest[:12]}", home)
    if not found[0].totals["test"]:
        raise DataError(f"{info.uri} has no test images to compare on; train it with some")
    # The same images may have been read from several places, of which some are gone.
    if whole := next((manifest for manifest in found if not _missing_image(manifest)), None):
        return whole
    missing = set()
    for manifest in found:
        _fetch_images(home, manifest, report)
        path = _missing_image(manifest)
        if not path:
            return manifest
        missing.add(path)
    raise DataError(
        f"the images of {info.uri} are not where they were: {' and '.join(sorted(missing))} is missing; "
        "put them back, or run the same `keeneye train` again, which fetches them"
    )


def _fetch_images(home: Home, manifest: Manifest, report: Report) -> None:
    """Fetch those images again that came from an object store and were let go since."""
    for split in NEEDED_SPLITS:
        entries = list(read_manifest(manifest.manifest_path(split)))
        refs = [ref for entry in entries for ref in (entry.source_ref, entry.mask_ref) if ref]
        restore(home.store, Path(manifest.roots[split]), refs, report)


def _missing_image(manifest: Manifest) -> str:
    for split in NEEDED_SPLITS:
        for entry in read_manifest(manifest.manifest_path(split)):
            path = Path(manifest.roots[split]) / entry.source_ref
            if not path.is_file():
                return str(path)
    return ""


def _find_training(home: Home, info: VersionInfo, train_key: str) -> TrainedModel:
    for path, record in _records(home, "train", TrainedModel, lambda key: key == train_key):
        return record.model_copy(update={"entry_path": str(path)})
    raise _elsewhere(info, f"its training {train_key[:12]}", home)


def _find_predictions(home: Home, bundle_digest: str, manifest_digest: str) -> str:
    for path, record in _records(home, "evaluate", Evaluation):
        if (record.bundle_digest, record.manifest_digest) == (bundle_digest, manifest_digest):
            return str(record.model_copy(update={"entry_path": str(path)}).predictions_path)
    return ""


def _elsewhere(info: VersionInfo, what: str, home: Home) -> DataError:
    return DataError(
        f"{info.uri} was trained elsewhere: {what} is not in {home.store.root}; use the KEENEYE_HOME that trained "
        "it, or train again here"
    )


def _records(
    home: Home, stage: str, record_type: type[R], is_wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[Path, R]]:
    for path in home.store.entries_of(stage):
        try:
            record = record_type.model_validate_json((path / RECORD_NAME).read_text(encoding="utf-8"))
        except (OSError, ValidationError):  # of an older Keeneye, with other fields
            continue
        if is_wanted(record.key):
            yield path, record
