"""A version of a dataset: divided in the store, and entered in the catalogue."""

import json
from pathlib import Path

import numpy as np

from tasks.dataset.entries import SPLITS, ImageEntry, read_index, write_index
from tasks.dataset.findings import count_by_code, write_findings
from tasks.dataset.versions import DatasetVersion, manifests_digest, merged_assignments
from tasks.ingest.records import IMAGES_FILE, TEST_IMAGES_FILE, THUMBNAILS_FILE, IngestedImages
from tasks.manifest.divide import DivisionRules, divide, require_kinship
from tasks.manifest.records import FINDINGS_FILE, GROUPS_FILE, DividedDataset
from tasks.stores.content import StageKey, digest_of
from tasks.stores.home import Home

STAGE_VERSION = "1"
ASSIGNMENTS_FILE = "assignments.json"
LARGEST_GROUPS = 12
LISTED_MEMBERS = 200


def divide_dataset(home: Home, images: IngestedImages, rules: DivisionRules) -> DividedDataset:
    """Divide the dataset's next version and enter it in the catalogue; the caller holds the dataset's lock."""
    # With a test source of its own, other images are tested on: another line of descent.
    scheme = f"{rules.scheme}+test" if images.test_root else rules.scheme
    settings = {"scheme": scheme, "group_by": rules.group_by, "near_duplicates": rules.near_duplicates}
    made_from = digest_of([images.content_digest, images.key, settings])
    parent = home.catalogue.parent_for(images.dataset_name, scheme, made_from)
    key = StageKey(
        stage="dataset",
        version=STAGE_VERSION,
        inputs={
            "images": images.key,
            "parent": parent.digest if parent else "",
            "earlier": digest_of(parent.assignments) if parent else "",
        },
        config={**settings, "name": images.dataset_name},
        libraries=("numpy", "scipy", "opencv-python-headless"),
    )

    def make(folder: Path) -> DividedDataset:
        source = Path(images.entry_path)
        entries, tested = list(read_index(source / IMAGES_FILE)), _optional_index(source / TEST_IMAGES_FILE)
        earlier = parent.assignments if parent else {}
        require_kinship(images.dataset_name, [*entries, *tested], earlier)
        thumbnails = np.load(source / THUMBNAILS_FILE, mmap_mode="r", allow_pickle=False)
        division = divide(entries, tested, thumbnails, rules, earlier)
        paths = {split: folder / f"{split}.jsonl" for split in SPLITS}
        for split in SPLITS:
            write_index(paths[split], division.entries[split])
        write_findings(folder / FINDINGS_FILE, division.findings)
        _write_json(folder / ASSIGNMENTS_FILE, division.assignments)
        together = sorted((refs for refs in division.groups.values() if len(refs) > 1), key=lambda r: (-len(r), r))
        _write_json(folder / GROUPS_FILE, [refs[:LISTED_MEMBERS] for refs in together[:LARGEST_GROUPS]])
        digest = manifests_digest(paths)
        descends_from = parent.digest if parent else ""
        if parent and parent.digest == digest:
            # The same images from another place are the same version, not its child.
            descends_from = parent.parent
        return DividedDataset(
            dataset_digest=digest,
            parent_digest=descends_from,
            groups=len(division.groups),
            findings=count_by_code(division.findings),
        )

    record, path = home.store.reuse_or_make(key, DividedDataset, make)
    assigned = json.loads((path / ASSIGNMENTS_FILE).read_text(encoding="utf-8"))
    home.catalogue.publish(
        DatasetVersion(
            name=images.dataset_name,
            scheme=scheme,
            digest=record.dataset_digest,
            parent=record.parent_digest,
            made_from=made_from,
            assignments=merged_assignments(parent, assigned),
        )
    )
    return record.model_copy(update={"entry_path": str(path)})


def _optional_index(path: Path) -> list[ImageEntry]:
    return list(read_index(path)) if path.exists() else []


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, sort_keys=True), encoding="utf-8")
