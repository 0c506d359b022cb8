"""The detector beside the plain recipe: same images, same folds, turn by turn; accuracy, and time to learn and predict.

    uv run --group benchmarks python benchmarks/detection.py [--seed 0] [--folds 5] [--without-peer]

The peer is `plain_detection.py` in a folder `yardsticks` (`--yardsticks`), which names the five folds; data are the 100
test images of MVTec's transistors (`--data`), whose masks become boxes. In every fold the peer learns, then Keeneye,
each on two threads; boxes found in the images left out are pooled over the folds and scored once. Keeneye learns with
the default options, without validation images. Then both predict the 100 image files, decoding included: the peer one
by one in eager torch, Keeneye through the exported bundle.
"""

import argparse
import contextlib
import importlib.util
import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch

from flows.config import DataConfig, MaskConfig, TrainConfig, TrainingConfig
from tasks.bundle.predictor import Predictor
from tasks.bundle.preprocessing import detection_steps, prepare_batch
from tasks.dataset.entries import SPLITS, ImageEntry
from tasks.ground_truth.manifests import read_manifest
from tasks.ingest.task import ingest_images
from tasks.manifest.task import build_manifest
from tasks.metrics.detection import DetectionMetrics, measure_detections
from tasks.stores.home import Home
from tasks.train.detector.export import write_bundle
from tasks.train.detector.fit import fit
from tasks.train.detector.learn import DECODING
from tasks.train.detector.network import Architecture, Graph, build_network
from tasks.train.detector.predict import detect
from tasks.train.detector.samples import Samples, prepare_samples
from tasks.train.learning.frozen import Frozen, export_frozen
from tasks.train.learning.loop import Schedule
from tasks.train.learning.weights import load_packaged
from tasks.vision.boxes import DetectedBox
from tasks.vision.images import decode_rgb

SHARED = Path(__file__).resolve().parents[2] / "shared"
THREADS = 2
PEER_EPOCHS, PEER_SIDE = 30, 320
SIDE = TrainConfig(task="detection").input_size
PREDICTION_ROUNDS = 3


@dataclass
class Contestant:
    """What one of the two took and found."""

    seconds: list[float] = field(default_factory=list)
    found: dict[int, list[DetectedBox]] = field(default_factory=dict)


def main() -> None:
    """Run all folds, print a line per fold and the table."""
    arguments = _arguments()
    torch.set_num_threads(THREADS)
    torch.set_flush_denormal(True)
    peer = None if arguments.without_peer else _load_peer(arguments.yardsticks)
    with tempfile.TemporaryDirectory() as folder:
        entries, labels = _entries(Path(folder), arguments.data)
        steps = detection_steps(SIDE)
        samples = prepare_samples(
            Path(folder) / "samples.npy", arguments.data, entries, labels, steps, lambda done, total: None
        )
        fold_of = _folds(entries, arguments.folds)
        items = peer.read(arguments.data) if peer else ([], [])
        plain, keeneye, models, frozen = Contestant(), Contestant(), [], None
        for fold in range(1 if arguments.prediction_only else arguments.folds):
            if peer:
                models.append(_run_peer(peer, items, fold_of, fold, arguments, samples, plain))
            network, frozen = _run_keeneye(samples, labels, fold_of, fold, arguments, keeneye, Path(folder), frozen)
            _tell_fold(fold, plain, keeneye)
        if not arguments.prediction_only:
            _tell(samples, labels, plain, keeneye)
        if peer:
            bundle = Path(folder) / "bundle"
            with contextlib.redirect_stdout(io.StringIO()):  # the exporter talks
                write_bundle(
                    bundle,
                    network,
                    labels=labels,
                    thresholds=dict.fromkeys(labels, 0.5),
                    steps=steps,
                    decoding=DECODING,
                    dataset_digest="0" * 64,
                    provenance={},
                )
            files = [(arguments.data / entry.source_ref).read_bytes() for entry in entries]
            _compare_prediction(models[-1], network, Predictor.open(bundle, threads=THREADS), files)


def _arguments() -> argparse.Namespace:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--data", type=Path, default=SHARED / "data" / "mvtec_transistor")
    cli.add_argument("--yardsticks", type=Path, default=SHARED / "yardsticks")
    cli.add_argument("--folds", type=int, default=5)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--without-peer", action="store_true", help="Keeneye alone, for further seeds")
    cli.add_argument("--prediction-only", action="store_true", help="one fold, one epoch: only the second table counts")
    return cli.parse_args()


def _load_peer(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_detection", folder / "plain_detection.py")
    if spec is None or spec.loader is None:
        sys.exit(f"{folder} holds no plain_detection.py; name its folder with --yardsticks")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _entries(folder: Path, data: Path) -> tuple[list[ImageEntry], tuple[str, ...]]:
    """Return the test images in the peer's order: good ones, then the defects by name."""
    home = Home(folder / "home", f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db")
    request = DataConfig(source=str(data))
    manifest = build_manifest.fn(home, ingest_images.fn(home, request), request, MaskConfig(), "detection")
    entries = [entry for split in SPLITS for entry in read_manifest(manifest.manifest_path(split))]
    tested = [entry for entry in entries if entry.source_ref.startswith("test/")]
    return sorted(tested, key=lambda entry: (bool(entry.truth.boxes), entry.source_ref)), manifest.labels


def _folds(entries: Sequence[ImageEntry], folds: int) -> list[int]:
    """Deal the images of each kind to the folds in turn, as the peer does."""
    seen: dict[str, int] = {}
    places = []
    for entry in entries:
        kind = entry.source_ref.split("/")[1]
        places.append(seen.get(kind, 0) % folds)
        seen[kind] = seen.get(kind, 0) + 1
    return places


def _run_peer(
    peer: ModuleType,
    items: tuple[list[str], list[tuple[torch.Tensor, torch.Tensor, int]]],
    fold_of: Sequence[int],
    fold: int,
    arguments: argparse.Namespace,
    samples: Samples,
    plain: Contestant,
) -> torch.nn.Module:
    classes, images = items
    if fold == 0:
        random.seed(arguments.seed)
        np.random.seed(arguments.seed)
        torch.manual_seed(arguments.seed)
    train = [i for i, place in enumerate(fold_of) if place != fold and (images[i][2] or random.random() < 0.4)]
    start = time.perf_counter()
    model = peer.fit(images, train, classes, 1 if arguments.prediction_only else PEER_EPOCHS)
    plain.seconds.append(time.perf_counter() - start)
    with torch.inference_mode():
        for i, place in enumerate(fold_of):
            if place == fold:
                plain.found[i] = _boxes_of(model([images[i][0]])[0], classes, samples.image_sizes[i])
    return model


def _run_keeneye(
    samples: Samples,
    labels: tuple[str, ...],
    fold_of: Sequence[int],
    fold: int,
    arguments: argparse.Namespace,
    keeneye: Contestant,
    folder: Path,
    frozen: Frozen | None,
) -> tuple[torch.nn.Module, Frozen | None]:
    """Learn and find; the frozen stages are exported in the first fold, whose time includes it."""
    learned = samples.take([i for i, place in enumerate(fold_of) if place != fold])
    held_out = [i for i, place in enumerate(fold_of) if place == fold]
    training = TrainingConfig(seed=arguments.seed)
    options = training.detector.model_copy(update={"epochs": 1} if arguments.prediction_only else {})
    steps = detection_steps(SIDE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed * 1000 + fold)
        start = time.perf_counter()
        network = build_network(Architecture(options.backbone, options.frozen_stages, len(labels)))
        load_packaged(network.backbone.body, options.backbone)
        schedule = Schedule(device="cpu", **options.model_dump(exclude={"backbone", "frozen_stages"}))
        frozen = frozen or export_frozen(network.backbone, SIDE, folder / "frozen.onnx", "cpu")
        fitted = fit(network, learned, steps[-1], schedule, folder / f"fold-{fold}.pt", frozen=frozen)
        keeneye.seconds.append(time.perf_counter() - start)
    found = detect(fitted.network, samples.take(held_out), labels, steps, DECODING, frozen)
    keeneye.found.update(zip(held_out, found, strict=True))
    return fitted.network, frozen


def _boxes_of(answer: dict[str, torch.Tensor], classes: Sequence[str], size: tuple[int, int]) -> list[DetectedBox]:
    """Return the peer's boxes in pixels of the image, which it stretched to its own square."""
    scale = torch.tensor([size[0] / PEER_SIDE, size[1] / PEER_SIDE] * 2)
    return [
        DetectedBox(classes[label], left, top, right - left, bottom - top, score, is_given=False)
        for (left, top, right, bottom), label, score in zip(
            (answer["boxes"] * scale).tolist(), answer["labels"].tolist(), answer["scores"].tolist(), strict=True
        )
    ]


def _tell_fold(fold: int, plain: Contestant, keeneye: Contestant) -> None:
    times = [f"{who} {one.seconds[-1]:.0f} s" for who, one in (("plain", plain), ("keeneye", keeneye)) if one.seconds]
    print(f"fold {fold}: {', '.join(times)}", flush=True)


def _tell(samples: Samples, labels: tuple[str, ...], plain: Contestant, keeneye: Contestant) -> None:
    print("\n| | mAP50 | mAP | seconds of training a fold | AP50 by label |\n|---|---|---|---|---|")
    for name, one in (("plain recipe", plain), ("keeneye", keeneye)):
        if one.found:
            metrics = _measure(samples, labels, one)
            by_label = ", ".join(f"{label} {m.average_precision_50:.2f}" for label, m in metrics.per_label.items())
            seconds = sum(one.seconds) / len(one.seconds)
            print(f"| {name} | {metrics.map_50:.3f} | {metrics.map:.3f} | {seconds:.0f} | {by_label} |", flush=True)
    if plain.seconds:
        print(f"\ntime to learn: {sum(keeneye.seconds) / sum(plain.seconds):.2f} of the plain recipe's", flush=True)


def _measure(samples: Samples, labels: tuple[str, ...], one: Contestant) -> DetectionMetrics:
    found = [one.found[i] for i in range(len(samples))]
    return measure_detections(samples.truths, found, labels, dict.fromkeys(labels, 0.5))


def _compare_prediction(
    peer_model: torch.nn.Module,
    network: torch.nn.Module,
    predictor: Predictor,
    files: Sequence[bytes],
) -> None:
    letterbox, normalise = detection_steps(SIDE)
    graph = Graph(network).eval()

    def plain(data: bytes) -> None:
        image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        small = cv2.resize(image, (PEER_SIDE, PEER_SIDE), interpolation=cv2.INTER_AREA)
        peer_model([torch.from_numpy(small).permute(2, 0, 1).float() / 255])

    def eager(data: bytes) -> None:
        graph(torch.from_numpy(prepare_batch([decode_rgb(data)], (letterbox, normalise))))

    def all_of(predict: Callable[[bytes], None]) -> Callable[[], None]:
        return lambda: [predict(data) for data in files]

    contestants = {
        "plain recipe, eager torch": all_of(plain),
        "keeneye's network, eager torch, boxes not decoded": all_of(eager),
        "keeneye's bundle, one by one": all_of(lambda data: predictor.predict_bytes([data])),
        "keeneye's bundle, all at once": lambda: predictor.predict_bytes(files),
    }
    best = dict.fromkeys(contestants, float("inf"))
    with torch.inference_mode():
        for _ in range(PREDICTION_ROUNDS):
            for name, run in contestants.items():
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
    slowest = best["plain recipe, eager torch"]
    print("\n| prediction of the 100 files | images a second | ratio |\n|---|---|---|")
    for name, seconds in best.items():
        print(f"| {name} | {len(files) / seconds:.1f} | {slowest / seconds:.2f} |")


if __name__ == "__main__":
    main()
