"""Manifest generation, as Prefect runs it: a dataset version, divided, as Ground Truth manifests."""

from pathlib import Path

from flows.config import DataConfig
from tasks import engine
from tasks.dataset.entries import SPLITS, ImageEntry, Split, read_index
from tasks.dataset.versions import DatasetVersion, manifests_digest, merged_assignments
from tasks.ground_truth.manifests import read_manifest, write_manifest
from tasks.ingest.records import IMAGES_FILE, TEST_IMAGES_FILE, IngestedImages
from tasks.manifest.build import count_images, divide, require_kinship, require_learnable
from tasks.manifest.records import Manifest
from tasks.stores.content import StageKey, digest_of
from tasks.stores.home import Home

STAGE_VERSION = "1"


@engine.stage("build manifest")
def build_manifest(home: Home, images: IngestedImages, data: DataConfig) -> Manifest:
    """Write the train, validation and test manifests of a dataset version and enter it in the catalogue."""
    # Versions follow each other: two at once would not know of each other's splits.
    with home.lock(f"dataset-{images.dataset_name}"):
        record = _build(home, images, data)
    _tell(record)
    return record


def _build(home: Home, images: IngestedImages, data: DataConfig) -> Manifest:
    # With a test source of its own, other images are tested on: another line of descent.
    scheme = f"{data.split}+test" if images.test_root else data.split
    made_from = digest_of([images.content_digest, images.key, scheme])
    parent = home.catalogue.parent_for(images.dataset_name, scheme, made_from)
    key = StageKey(
        stage="manifest",
        version=STAGE_VERSION,
        inputs={
            "images": images.key,
            "parent": parent.digest if parent else "",
            "earlier": digest_of(parent.assignments) if parent else "",
        },
        config={"scheme": scheme, "name": images.dataset_name},
    )

    def make(folder: Path) -> Manifest:
        source = Path(images.entry_path)
        entries, tested = list(read_index(source / IMAGES_FILE)), _optional_index(source / TEST_IMAGES_FILE)
        earlier = parent.assignments if parent else {}
        require_kinship(images.dataset_name, [*entries, *tested], earlier)
        divided = divide(entries, tested, data.split, earlier)
        require_learnable(divided)
        labels = sorted({label for split in SPLITS for entry in divided[split] for label in entry.truth.labels})
        class_ids = {label: index for index, label in enumerate(labels)}
        paths = {split: folder / f"{split}.manifest" for split in SPLITS}
        for split in SPLITS:
            write_manifest(paths[split], divided[split], class_ids, f"keeneye/{images.dataset_name}")
        digest = manifests_digest(paths)
        descends_from = parent.digest if parent else ""
        if parent and parent.digest == digest:
            # The same images from another place are the same version, not its child.
            descends_from = parent.parent
        return Manifest(
            dataset_name=images.dataset_name,
            dataset_digest=digest,
            parent_digest=descends_from,
            roots=_roots(images),
            labels=tuple(labels),
            images=count_images(divided),
        )

    record, path = home.store.reuse_or_make(key, Manifest, make)
    record = record.model_copy(update={"entry_path": str(path)})
    assigned: dict[str, Split] = {
        entry.group: split for split in SPLITS for entry in read_manifest(record.manifest_path(split))
    }
    home.catalogue.publish(
        DatasetVersion(
            name=record.dataset_name,
            scheme=scheme,
            digest=record.dataset_digest,
            parent=record.parent_digest,
            made_from=made_from,
            assignments=merged_assignments(parent, assigned),
        )
    )
    return record


def _optional_index(path: Path) -> list[ImageEntry]:
    return list(read_index(path)) if path.exists() else []


def _roots(images: IngestedImages) -> dict[Split, str]:
    return {"train": images.root, "validation": images.root, "test": images.test_root or images.root}


def _tell(record: Manifest) -> None:
    rows = [
        {"label": label, **{split: record.images[split].get(label, 0) for split in SPLITS}} for label in record.labels
    ]
    engine.publish_table("images", rows, f"{record.dataset_name}, version {record.dataset_digest[:12]}")
    engine.logger().info(
        "dataset %s version %s: %s",
        record.dataset_name,
        record.dataset_digest[:12],
        ", ".join(f"{sum(record.images[split].values())} {split}" for split in SPLITS),
    )
