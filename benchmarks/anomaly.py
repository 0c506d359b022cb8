"""An anomaly model on a data set's own split: learned from train/good alone, judged on test.

    uv run python benchmarks/anomaly.py [--data FOLDER] [--seeds 3]

Trains with the default options, three seeds, and measures through the bundle: area under ROC of images and of pixels,
PRO, precision and recall at the threshold that normal images alone gave, and the time of a prediction on one core.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from flows.config import DataConfig, MaskConfig, TrainConfig, TrainingConfig
from tasks.bundle.predictor import Prediction, Predictor
from tasks.dataset.entries import ImageEntry
from tasks.evaluate.masks import pixel_counts
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.metrics.anomaly import AnomalyMetrics, measure_anomalies
from tasks.stores.home import Home
from tasks.train.task import train_model
from tasks.vision.images import decode_rgb

SHARED = Path(__file__).resolve().parents[2] / "shared"
TIMED_IMAGES, ROUNDS = 20, 3


def main() -> None:
    """Run all seeds, a line each."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=SHARED / "data" / "mvtec_transistor")
    cli.add_argument("--seeds", type=int, default=3)
    arguments = cli.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder), "", "")
        data = DataConfig(source=str(arguments.data), split="given")
        manifest = build_manifest(home, ingest_images(home, data), data, MaskConfig(), "anomaly")
        entries = list(read_manifest(manifest.manifest_path("test")))
        for seed in range(arguments.seeds):
            start = time.perf_counter()
            config = TrainConfig(task="anomaly", data=data, training=TrainingConfig(seed=seed))
            model = train_model(home, manifest, config)
            seconds = time.perf_counter() - start
            predictor = Predictor.open(model.bundle_path, threads=1)
            files = [(arguments.data / entry.source_ref).read_bytes() for entry in entries]
            metrics = _measure(predictor, arguments.data, entries, predictor.predict_bytes(files))
            _tell(seed, metrics, seconds, _milliseconds(predictor, files))


def _measure(
    predictor: Predictor, root: Path, entries: Sequence[ImageEntry], answers: Sequence[Prediction]
) -> AnomalyMetrics:
    truth = np.array([bool(entry.truth.labels) for entry in entries])
    confidences = np.array([answer.confidences["anomaly"] for answer in answers])
    pixels = pixel_counts(root, entries, [answer.heat_map for answer in answers])
    return measure_anomalies(truth, confidences, predictor.card.thresholds["anomaly"], pixels)


def _milliseconds(predictor: Predictor, files: Sequence[bytes]) -> float:
    images = [decode_rgb(data) for data in files[:TIMED_IMAGES]]
    return 1e3 * min(_rounds(predictor, images)) / len(images)


def _rounds(predictor: Predictor, images: Sequence[np.ndarray]) -> Iterator[float]:
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for image in images:
            predictor.predict([image])
        yield time.perf_counter() - start


def _tell(seed: int, metrics: AnomalyMetrics, seconds: float, milliseconds: float) -> None:
    print(
        f"seed {seed}: image AUROC {metrics.image_auroc:.4f}, pixel AUROC {metrics.pixel_auroc:.4f}, PRO "
        f"{metrics.region_overlap:.4f}, precision {metrics.macro_precision:.3f}, recall {metrics.macro_recall:.3f}, "
        f"learned in {seconds:.0f} s, {milliseconds:.0f} ms an image on one core",
        flush=True,
    )


if __name__ == "__main__":
    main()
