"""Batch prediction, as Prefect runs it: the model fetched once, images predicted in shards, the results written."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from flows.predict_config import PredictConfig
from tasks import engine
from tasks.bundle.format import read_model_card
from tasks.dataset.findings import Finding, add_counts
from tasks.errors import DataError, RegistryError, RequestError
from tasks.ingest.records import ListedImages, read_listed
from tasks.predict.answers import ImageAnswer, read_answers
from tasks.predict.image_files import ReadLimits
from tasks.predict.records import (
    ANSWERS_FILE,
    FINDINGS_FILE,
    PREDICTIONS_MARKER_NAME,
    SHARDS_FILE,
    FetchedModel,
    PredictedImages,
    WrittenPredictions,
)
from tasks.predict.results import ResultOptions, numbered, write_results
from tasks.predict.shards import PredictWork, Shard
from tasks.predict.summary import SUMMARY_FILE, SummaryInputs, first_of_each_code, render_summary
from tasks.shards.runner import open_runner, shards_of
from tasks.stores.content import ContentStore, StageKey, digest_of
from tasks.stores.home import Home
from tasks.stores.object_output import Output, output_at
from tasks.tracking.registry import BUNDLE_DIGEST_TAG, REASONS_TAG, STATUS_TAG, Registry

STAGE_VERSION = "1"


def require_predictable(config: PredictConfig) -> None:
    """Refuse, before any work is done, what the request alone shows to be impossible.

    Raises:
        RequestError: when the folder for output holds files of others, cannot be written to, or lies in the source.
    """
    if config.reference_prefix and not config.manifest:
        raise RequestError("reference_prefix is for the manifest's references; add --manifest, or leave it empty")
    if config.output:
        output = output_at(config.output, PREDICTIONS_MARKER_NAME)
        output.require_apart([config.source])
        output.require_own()


@engine.stage("fetch model")
def fetch_model(home: Home, model_uri: str) -> FetchedModel:
    """Find the version that an address means now, and verify its bundle; alias moves do not reach the run again."""
    registry = Registry(home)
    try:
        info = registry.resolve(model_uri)
    except RegistryError as error:
        raise RequestError(
            f"the registry has no model {model_uri} ({error.message}); name a registered one as models:/NAME@ALIAS "
            "or models:/NAME/VERSION"
        ) from error
    if info.tags.get(STATUS_TAG) == "rejected":
        reasons = info.tags.get(REASONS_TAG) or "no reason was kept"
        raise RegistryError(f"{info.uri} was rejected ({reasons}); name a version that passed its gate")
    bundle = registry.cached_bundle(info)
    digest = info.tags[BUNDLE_DIGEST_TAG]
    card = read_model_card(bundle, expected_digest=digest)
    engine.logger().info("%s: %s with %d labels, bundle %s", info.uri, card.task, len(card.labels), digest[:12])
    return FetchedModel(
        key=digest,
        model_name=info.name,
        model_version=info.version,
        model_uri=info.uri,
        bundle_digest=digest,
        bundle_path=str(bundle),
        task=card.task,
        labels=card.labels,
        thresholds=card.thresholds,
        is_multi_label=card.is_multi_label,
    )


@engine.stage("predict images")
def predict_images(home: Home, model: FetchedModel, images: ListedImages, config: PredictConfig) -> PredictedImages:
    """Predict all images of a list, shard by shard; shards that were done before are not done again."""
    shards = _predict_shards(home, model, images, config)
    paths = [str(path.relative_to(home.store.root)) for _, path in shards]
    key = StageKey(stage="predict", version=STAGE_VERSION, inputs={"list": images.key, "shards": paths}, config={})

    def make(folder: Path) -> PredictedImages:
        (folder / SHARDS_FILE).write_text(json.dumps(paths), encoding="utf-8")
        with (folder / FINDINGS_FILE).open("wb") as stream:
            for source in (images.findings_path, *(path / FINDINGS_FILE for _, path in shards)):
                stream.write(source.read_bytes())
        return PredictedImages(
            images=images.images + images.invalid,
            predicted=sum(shard.predicted for shard, _ in shards),
            shards=len(shards),
            findings=add_counts(*(shard.findings for shard, _ in shards)),
        )

    record, path = home.store.reuse_or_make(key, PredictedImages, make)
    reused = sum(shard.reused for shard, _ in shards)
    record = record.model_copy(update={"entry_path": str(path), "shards_reused": reused})
    _tell(record)
    _require_enough(record, config.images.max_invalid_fraction)
    return record


@engine.stage("write predictions")
def write_predictions(
    home: Home, model: FetchedModel, images: ListedImages, predicted: PredictedImages, config: PredictConfig
) -> WrittenPredictions:
    """Write tables, findings and summary, and on request manifest and overlays, to a folder."""
    output = _output(home, model, images, config)
    output.require_apart([images.root])
    limits, root = _limits(config), Path(images.root)
    options = ResultOptions(
        min_confidence=config.min_confidence,
        with_manifest=config.manifest,
        reference_prefix=config.reference_prefix,
        overlays=config.overlays,
        max_overlays=config.max_overlays,
    )
    with home.lock(f"predict-{digest_of(output.address)[:16]}"):
        output.require_own()
        with output.unfinished() as folder:
            answers = numbered(read_listed(images.list_path), _read_shards(home.store, predicted))
            overview = write_results(folder, model, root, answers, options, limits)
            shutil.copyfile(predicted.findings_path, folder / FINDINGS_FILE)
            inputs = SummaryInputs(
                model=model,
                source_name=images.name,
                root=root,
                overview=overview,
                findings=add_counts(images.findings, predicted.findings),
                listed_findings=first_of_each_code(_findings(predicted.findings_path)),
                invalid=predicted.images - predicted.predicted,
                min_confidence=config.min_confidence,
                limits=limits,
            )
            (folder / SUMMARY_FILE).write_text(render_summary(inputs), encoding="utf-8")
            files = output.publish(folder)
    engine.logger().info("%d files in %s", len(files), output.address)
    return WrittenPredictions(
        folder=output.address,
        files=tuple(files),
        with_predictions=overview.with_predictions,
        predictions=dict(overview.predictions),
        report_path=f"{output.address}/{SUMMARY_FILE}",
    )


def _predict_shards(
    home: Home, model: FetchedModel, images: ListedImages, config: PredictConfig
) -> list[tuple[Shard, Path]]:
    shards: list[tuple[Shard, Path]] = []
    done = reused = 0
    with engine.progress("predict", "images") as report, open_runner(home.store.root, config.shards) as runner:

        def tell(count: int) -> None:
            nonlocal done
            done += count
            # Those that were there already would make the rate too good and the time left too short.
            report(done, images.images - reused)

        work = PredictWork(home.store, Path(images.root), _limits(config), Path(model.bundle_path), model.bundle_digest)
        listed = (image.source_ref for image in read_listed(images.list_path))
        sizes = (min(config.shard_size, images.images - start) for start in range(0, images.images, config.shard_size))
        carried_out = runner.map(work, shards_of(listed, config.shard_size), tell)
        for size, (shard, path) in zip(sizes, carried_out, strict=True):
            shards.append((shard, path))
            if shard.reused:
                reused += size
    return shards


def _limits(config: PredictConfig) -> ReadLimits:
    return ReadLimits(config.images.max_megapixels, config.images.max_file_megabytes)


def _require_enough(record: PredictedImages, max_invalid_fraction: float) -> None:
    invalid, path = record.images - record.predicted, record.findings_path
    if not record.predicted:
        raise DataError(
            f"none of {record.images} images can be used; see {path}, then repair them or name other images",
            findings_path=str(path),
        )
    if invalid > max_invalid_fraction * record.images:
        raise DataError(
            f"{invalid} of {record.images} images are bad ({invalid / record.images:.0%}), more than the "
            f"{max_invalid_fraction:.0%} that images.max_invalid_fraction allows; see {path}, repair or remove them",
            findings_path=str(path),
        )


def _output(home: Home, model: FetchedModel, images: ListedImages, config: PredictConfig) -> Output:
    # Models are named by whoever registers them.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", model.model_name).strip("-.") or "model"
    own = home.root / "predictions" / name / model.model_version / images.name
    return output_at(config.output or str(own), PREDICTIONS_MARKER_NAME)


def _read_shards(store: ContentStore, predicted: PredictedImages) -> Iterator[ImageAnswer]:
    for path in json.loads(predicted.shards_path.read_text(encoding="utf-8")):
        yield from read_answers(store.root / path / ANSWERS_FILE)


def _findings(path: Path) -> Iterator[Finding]:
    with path.open("rb") as stream:
        for line in stream:
            yield Finding.model_validate_json(line)


def _tell(record: PredictedImages) -> None:
    log = engine.logger()
    log.info(
        "predicted %d of %d images (%d of %d shards were there already)",
        record.predicted,
        record.images,
        record.shards_reused,
        record.shards,
    )
    if record.findings:
        rows = [{"code": code, "files": count} for code, count in record.findings.items()]
        engine.publish_table("findings", rows, "Images that were not predicted")
        log.warning("findings: %s", ", ".join(f"{code} {count}" for code, count in record.findings.items()))
