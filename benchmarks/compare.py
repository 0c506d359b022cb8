"""A comparison of ten classifiers on features beside what it cannot do without: the features once, and every fit.

The features are computed alone first, in a home of their own. Then ten candidates run on the same folds as `keeneye
compare` runs them, as Prefect tasks, with bundles made and measured.

    uv run python benchmarks/compare.py [--data FOLDER] [--folds 5]
"""

import argparse
import tempfile
import time
from pathlib import Path

from prefect import flow

from flows.compare_config import CompareConfig
from flows.config import DataConfig, MaskConfig
from flows.measuring import measure_candidates
from tasks import engine
from tasks.compare.records import Standing
from tasks.ingest.task import ingest_images
from tasks.manifest.records import Manifest
from tasks.manifest.task import build_manifest
from tasks.stores.home import Home
from tasks.train.gather import gather_features
from tasks.train.head_task import exported_backbone, feature_sources, head_lesson, views_of

SHARED = Path(__file__).resolve().parents[2] / "shared"
TEN = tuple(
    f"{head}:{features}"
    for head in ("logistic", "knn", "svm", "random_forest", "ensemble")
    for features in ("embedding", "stages")
)


def main() -> None:
    """Compute the features alone, run the comparison, and print what it cost beside them."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=SHARED / "data" / "mvtec_transistor")
    cli.add_argument("--folds", type=int, default=5)
    arguments = cli.parse_args()
    config = CompareConfig(
        data=DataConfig(source=str(arguments.data)), candidates=TEN, folds=arguments.folds, budget="4h"
    )
    with tempfile.TemporaryDirectory() as folder:
        alone, together = (Home(Path(folder) / name, "", "") for name in ("alone", "together"))
        embedding = compute_features(alone, manifest_of(alone, config), config)
        manifest = manifest_of(together, config)
        exported_backbone(together, config.request_of(TEN[0]).input_size)
        standings, whole = run(together, manifest, config)
    tell(standings, embedding, whole)


def manifest_of(home: Home, config: CompareConfig) -> Manifest:
    """Read and divide the images."""
    images = ingest_images.fn(home, config.data)
    return build_manifest.fn(home, images, config.data, MaskConfig(), "classification")


def compute_features(home: Home, manifest: Manifest, config: CompareConfig) -> float:
    """Compute the features of all images that are compared on; returns the seconds."""
    request = config.request_of(TEN[0])
    lesson, sources = head_lesson(manifest, request), feature_sources(home, request, views_of(manifest, request))
    entries = [*lesson.train, *lesson.validation]
    start = time.perf_counter()
    gather_features(lesson.search.kinds, lesson.root, entries, sources, engine.progress)
    return time.perf_counter() - start


@flow(name="benchmark", persist_result=False)
def run(home: Home, manifest: Manifest, config: CompareConfig) -> tuple[list[Standing], float]:
    """Measure the candidates as the flow does; returns the seconds too, from when Prefect's server runs."""
    start = time.perf_counter()
    standings = measure_candidates(home, manifest, config)
    return standings, time.perf_counter() - start


def tell(standings: list[Standing], embedding: float, whole: float) -> None:
    """Print the rows of the candidates and the ratio."""
    fits = sum((one.fit_seconds or 0.0) * len(one.macro_f1) for one in standings)
    print("| candidate | macro-F1 | seconds of all fits | features computed |")
    print("|---|---|---|---|")
    for one in standings:
        seconds = (one.fit_seconds or 0.0) * len(one.macro_f1)
        print(f"| {one.candidate} | {one.macro_f1_mean:.3f} | {seconds:.1f} | {one.features_computed} |")
    ratio = whole / (embedding + fits)
    print(f"\nfeatures {embedding:.1f} s, fits {fits:.1f} s, comparison {whole:.1f} s: {ratio:.2f} times their sum")


if __name__ == "__main__":
    main()
