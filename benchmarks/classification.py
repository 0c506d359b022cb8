"""Classifiers on one set of photographs: what each algorithm reaches in the same outer folds, all choices inside them.

The peer is the plain recipe of the yardsticks: the pooled embedding at 224 pixels and balanced logistic regression.
Every image is held out once; the labels given are the most confident ones, and macro-F1 is that of all held-out images.

    uv run python benchmarks/classification.py [--data FOLDER] [--seeds 3] [--folds 5] [--rows WORD ...]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flows.config import DataConfig, MaskConfig
from tasks.bundle.preprocessing import standard_steps
from tasks.dataset.entries import SPLITS, ImageEntry
from tasks.features.feature_set import FEATURES
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tasks.train.backbone import backbone_path
from tasks.train.candidates import AUTO_HEADS, Search, fit_best, listed
from tasks.train.cross_validation import Rows
from tasks.train.feature_cache import Features
from tasks.train.feature_kinds import AUTO_SETS, FeatureKind, FeatureKinds
from tasks.train.feature_table import FeatureTable
from tasks.train.gather import FeatureSources, gather_features
from tasks.train.heads.folds import stratified_folds
from tasks.train.heads.model import HeadName, Indices, Probabilities
from tasks.train.views import VIEWS, View

SHARED = Path(__file__).resolve().parents[2] / "shared"
PLAIN_SIZE, INPUT_SIZE = 224, 448
COMBINATIONS: tuple[FeatureKinds, ...] = (
    ("lbp", "colour", "hog"),
    ("edges", "corners", "blobs"),
    ("hog", "gabor", "edges", "corners", "blobs", "lbp", "tamura", "colour"),
    ("stages", "lbp", "colour", "hog"),
    ("stages", "gabor", "edges", "corners"),
)
RowsT = TypeVar("RowsT", bound=Rows)
Learner = Callable[[RowsT, Indices, RowsT], Probabilities]
"""From training features, label indices and held-out features to the probabilities of the held-out images."""


def main() -> None:
    """Compute the features once, then run every algorithm on every seed's folds; print a Markdown table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", default=str(SHARED / "data" / "mvtec_transistor"))
    cli.add_argument("--seeds", type=int, default=3)
    cli.add_argument("--folds", type=int, default=5)
    cli.add_argument("--rows", nargs="+", default=[""], help="measure only algorithms whose name holds one of these")
    arguments = cli.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), "", "")
        data = DataConfig(source=arguments.data)
        manifest = build_manifest(home, ingest_images(home, data), data, MaskConfig(), "classification")
        entries = [entry for split in SPLITS for entry in read_manifest(manifest.manifest_path(split))]
        y = np.array([manifest.labels.index(entry.truth.stratum) for entry in entries], np.intp)
        gather = partial(features_of, home, Path(manifest.roots["train"]), entries)
        plain = gather(PLAIN_SIZE, (), ("embedding",))
        ours = gather(INPUT_SIZE, VIEWS, [kind for kinds in AUTO_SETS for kind in kinds])
        every = gather(INPUT_SIZE, (), ("stages", *FEATURES))
        print(f"\n{len(y)} images, {len(manifest.labels)} labels, {arguments.folds} folds")
        print("| algorithm | macro-F1 by seed | mean | accuracy | seconds a fold |")
        print("|---|---|---|---|---|")
        folds = [stratified_folds(y, arguments.folds, seed) for seed in range(arguments.seeds)]
        wanted = partial(is_wanted, arguments.rows)
        if wanted("plain recipe"):
            tell("plain recipe", plain.columns["embedding"], y, folds, learn_plainly)
        for name, search, features in searches(ours, every):
            if wanted(name):
                tell(name, features, y, folds, partial(learn, search))


def is_wanted(words: Sequence[str], name: str) -> bool:
    """Whether a row is among those asked for."""
    return any(word in name for word in words)


def features_of(
    home: Home,
    root: Path,
    entries: Sequence[ImageEntry],
    size: int,
    views: tuple[View, ...],
    kinds: Sequence[FeatureKind],
) -> FeatureTable:
    """Return features of images, and print how long each kind takes."""
    sources = FeatureSources(home.store, backbone_path(home.store, size), standard_steps(size), views, 0)

    @contextmanager
    def timed(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
        start = time.perf_counter()
        yield lambda *_: None
        print(f"{what}, {size} pixels, {1 + len(views)} views: {time.perf_counter() - start:.1f} s")

    return gather_features(kinds, root, entries, sources, timed)


def searches(ours: FeatureTable, every: FeatureTable) -> Iterator[tuple[str, Search, FeatureTable]]:
    """Return what is measured, in the order of the table."""
    yield "auto", Search.of(None, (), 0), ours
    unviewed = replace(ours, columns={kind: block[:, :1] for kind, block in ours.columns.items()})
    yield "auto, without views", Search.of(None, (), 0), unviewed
    backbone = Search(AUTO_HEADS, (("embedding",), ("stages",)), 0)
    yield "auto, without engineered features", backbone, ours
    yield "logistic on the embedding", Search.of("logistic", ("embedding",), 0), unviewed
    heads: tuple[HeadName, ...] = ("logistic", "svm", "random_forest", "knn", "ensemble")
    for head in heads:
        yield f"{head} on stages", Search.of(head, ("stages",), 0), unviewed
    for kinds in (*((kind,) for kind in FEATURES), *COMBINATIONS):
        yield f"svm on {listed(kinds)}", Search.of("svm", kinds, 0), every


def learn_plainly(features: Features, y: Indices, held_out: Features) -> Probabilities:
    """As the yardstick does it."""
    head = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=3000, class_weight="balanced"))
    return np.asarray(head.fit(features[:, 0], y).predict_proba(held_out[:, 0]))


def learn(search: Search, features: FeatureTable, y: Indices, held_out: FeatureTable) -> Probabilities:
    """As a training does it, all choices included."""
    return fit_best(search, features, y).probabilities(held_out)


def tell(
    name: str,
    features: RowsT,
    y: Indices,
    folds: list[list[tuple[Indices, Indices]]],
    learner: Learner[RowsT],
) -> None:
    """Run one algorithm on all folds of all seeds, and print its row."""
    start, scores, right = time.perf_counter(), [], []
    for splits in folds:
        given = np.zeros(len(y), np.intp)
        for train, held_out in splits:
            given[held_out] = learner(features[train], y[train], features[held_out]).argmax(axis=1)
        scores.append(f1_score(y, given, average="macro"))
        right.append(float((given == y).mean()))
    seconds = (time.perf_counter() - start) / sum(map(len, folds))
    by_seed = ", ".join(f"{score:.3f}" for score in scores)
    print(f"| {name} | {by_seed} | {np.mean(scores):.3f} | {np.mean(right):.3f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
