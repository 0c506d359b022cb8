"""Many small real files through checking, embedding and prediction: how it grows with cores and with images.

    uv run python benchmarks/scale.py [--images 10000] [--runners threads:1 threads:2 dask:1 dask:2] [--keep FOLDER]

Paints IMAGES JPEG files of 64 x 64 pixels (shapes on noise, 1 to 2 kB) in folders of a label, a thousand at most each.
Then, each in a fresh process and a fresh home, the stages as the flows call them: `ingest` lists, hashes and checks,
`embed` computes the features of all images with the backbone at 64 pixels, `predict` runs a classifier that was trained
on 300 of the images. `threads:N` is this process bound to N cores, `dask:N` a scheduler and N workers of one thread.

Images a second tell of this run on this machine. Images a second of processor time (of all processes together) hardly
depend on who else is busy: this is what one core does. Memory is the peak of the process that asks; that of workers is
told apart.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import psutil

from flows.config import DataConfig, MaskConfig, ShardsConfig, TrainConfig
from flows.predict_config import PredictConfig
from tasks.bundle.format import bundle_digest, read_model_card
from tasks.bundle.preprocessing import standard_steps
from tasks.dataset.entries import read_index
from tasks.ingest.records import IMAGES_FILE, ListedImages
from tasks.ingest.task import ingest_images, list_images
from tasks.manifest.task import build_manifest
from tasks.predict.records import FetchedModel
from tasks.predict.task import predict_images
from tasks.shards.runner import open_runner
from tasks.stores.home import Home
from tasks.train.backbone import backbone_path
from tasks.train.embed import embedding_cache
from tasks.train.task import train_model

SIDE = 64
LABELS = ("cross", "disc", "ring", "square")
FOLDER_FILES = 1000
TRAINED_ON = 300
STAGES = ("ingest", "embed", "predict")


def main() -> None:
    """Paint, measure each stage with each runner, print a table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--images", type=int, default=10_000)
    cli.add_argument("--runners", nargs="+", default=["threads:1", "threads:2", "dask:1", "dask:2"])
    cli.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    cli.add_argument("--keep", type=Path, help="folder of the pictures, painted at first use, and of the model")
    cli.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = cli.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.keep or Path(scratch) / "made").resolve()
        photos = paint_all(folder, arguments.images)
        prepare(folder)
        told = sum(path.stat().st_size for path in photos.rglob("*.jpg"))
        load = os.getloadavg()[0]
        print(f"{arguments.images:,} files, {told / 1e6:.0f} MB, load {load:.1f}\n")
        print("| stage | runner | s | images/s | images/s of processor time | peak MB | disk MB |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for stage in arguments.stages:
            for runner in arguments.runners:
                row(Path(scratch), folder, photos, stage, runner, arguments.images)


def row(scratch: Path, folder: Path, photos: Path, stage: str, runner: str, images: int) -> None:
    """Measure one stage with one runner in a fresh process, and print its row."""
    kind, count = runner.split(":")
    with cluster(scratch, int(count) if kind == "dask" else 0) as (address, workers):
        shards = {"runner": "dask", "address": address} if workers else {"threads": int(count)}
        if kind == "threads":
            os.sched_setaffinity(0, range(int(count)))
        before = sum(map(processor_seconds, workers))
        command = [sys.executable, __file__, "--measure", stage, str(folder), json.dumps([str(photos), shards])]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        found = json.loads(done.stdout.splitlines()[-1])
        processor = found["processor"] + sum(map(processor_seconds, workers)) - before
        peaks = [psutil.Process(worker).memory_info().rss / 1e6 for worker in workers]
    memory = f"{found['peak']:.0f}" + (f" (a worker {max(peaks):.0f})" if peaks else "")
    rates = f"{images / found['seconds']:.0f} | {images / processor:.0f}"
    print(f"| {stage} | {runner} | {found['seconds']:.1f} | {rates} | {memory} | {found['disk']:.0f} |", flush=True)


def processor_seconds(process: int) -> float:
    """Return what a process has taken of the processor."""
    times = psutil.Process(process).cpu_times()
    return times.user + times.system


def measure(stage: str, folder_name: str, given: str) -> None:
    """Run one stage in a home of its own; print what it took as JSON."""
    folder, (photos, options) = Path(folder_name), json.loads(given)
    shards = ShardsConfig(**options)
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home", "sqlite:///unused.db", "sqlite:///unused.db")
        run = {"ingest": ingest, "embed": embed, "predict": predict}[stage](home, folder, photos, shards)
        before, start = time.process_time(), time.perf_counter()
        run()
        seconds, processor = time.perf_counter() - start, time.process_time() - before
        disk = sum(path.stat().st_size for path in home.root.rglob("*") if path.is_file())
    # Not getrusage's, which also knows of the process that started this one.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    peak = int(line.split()[1]) / 1e3
    print(json.dumps({"seconds": seconds, "processor": processor, "peak": peak, "disk": disk / 1e6}))


def ingest(home: Home, folder: Path, photos: str, shards: ShardsConfig):
    """Return the checking of all images."""
    return partial(ingest_images.fn, home, DataConfig(source=photos), shards)


def embed(home: Home, folder: Path, photos: str, shards: ShardsConfig):
    """Return the embedding of all images, which were checked before."""
    entries = list(read_index(index_of(folder, photos)))
    backbone = backbone_path(Home(folder / "home", "", "").store, SIDE)

    def run():
        with open_runner(home.store.root, shards) as runner:
            cache = embedding_cache(home.store, backbone, standard_steps(SIDE), runner=runner)
            cache.features(Path(photos), entries, lambda done, total: None)

    return run


def index_of(folder: Path, photos: str) -> Path:
    """Return the index of checked images, made at first use."""
    record = ingest_images.fn(Home(folder / "home", "", ""), DataConfig(source=photos))
    return Path(record.entry_path) / IMAGES_FILE


def predict(home: Home, folder: Path, photos: str, shards: ShardsConfig):
    """Return the prediction of all images."""
    bundle = folder / "bundle"
    card = read_model_card(bundle)
    model = FetchedModel(
        model_name="shapes",
        model_version="1",
        model_uri="models:/shapes/1",
        bundle_digest=bundle_digest(bundle),
        bundle_path=str(bundle),
        task=card.task,
        labels=card.labels,
        thresholds=card.thresholds,
    )
    config = PredictConfig(model=model.model_uri, source=photos, shards=shards)

    def run():
        listed: ListedImages = list_images.fn(home, photos)
        predict_images.fn(home, model, listed, config)

    return run


def prepare(folder: Path) -> None:
    """Train the classifier and export the backbone, at first use."""
    home = Home(folder / "home", "sqlite:///unused.db", "sqlite:///unused.db")
    backbone_path(home.store, SIDE)
    if not (folder / "bundle").exists():
        data = DataConfig(source=str(paint_all(folder, TRAINED_ON)))
        training = {"input_size": SIDE, "algorithm": "logistic", "features": ["embedding"], "views": False}
        manifest = build_manifest.fn(home, ingest_images.fn(home, data), data, MaskConfig(), "classification")
        model = train_model.fn(home, manifest, TrainConfig(data=data, training=training))
        (folder / "bundle").symlink_to(model.bundle_path)


def paint_all(folder: Path, images: int) -> Path:
    """Paint images into folders, unless they are there."""
    root = folder / f"images-{images}"
    if not root.exists():
        partial_root = folder / f"unfinished-{images}"
        starts = range(0, images, FOLDER_FILES)
        with ProcessPoolExecutor() as pool:
            list(pool.map(partial(paint_some, partial_root, images), starts))
        partial_root.rename(root)
    return root


def paint_some(root: Path, images: int, start: int) -> None:
    """Paint a thousand images into one folder of each label."""
    rng = np.random.default_rng(start)
    for number in range(start, min(start + FOLDER_FILES, images)):
        label = LABELS[number % len(LABELS)]
        path = root / label / f"{start // FOLDER_FILES:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), paint(rng, label), [cv2.IMWRITE_JPEG_QUALITY, 85])


def paint(rng: np.random.Generator, label: str) -> np.ndarray:
    """Paint a shape on soft noise."""
    small = rng.integers(60, 160, (8, 8, 3), np.uint8)
    image = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    middle = tuple(int(value) for value in rng.integers(22, 42, 2))
    colour, size = tuple(int(value) for value in rng.integers(120, 255, 3)), int(rng.integers(8, 18))
    if label == "disc":
        cv2.circle(image, middle, size, colour, -1, cv2.LINE_AA)
    elif label == "ring":
        cv2.circle(image, middle, size, colour, 3, cv2.LINE_AA)
    elif label == "square":
        corners = [(value - size, value + size) for value in middle]
        cv2.rectangle(image, (corners[0][0], corners[1][0]), (corners[0][1], corners[1][1]), colour, -1)
    else:
        cv2.drawMarker(image, middle, colour, cv2.MARKER_CROSS, 2 * size, 4, cv2.LINE_AA)
    return image


@contextmanager
def cluster(scratch: Path, workers: int):
    """Start a scheduler with workers of one thread each; gives its address and their process ids."""
    if not workers:
        yield "", []
        return
    from distributed import Client

    file = scratch / "scheduler.json"
    file.unlink(missing_ok=True)
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": scratch}
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    processes = [subprocess.Popen([*dask, *scheduler], **quiet)]
    try:
        while not (file.exists() and file.read_text().endswith("}")):
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        worker = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        processes += [subprocess.Popen([*dask, *worker], **quiet) for _ in range(workers)]
        with Client(address, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(workers)
            # What a worker loads once is no work on images.
            client.run(load)
        yield address, [process.pid for process in processes[1:]]
    finally:
        for process in processes[::-1]:
            process.kill()
            process.wait()


def load() -> None:
    """Import what shards need."""
    import tasks.ingest.check_shards
    import tasks.predict.shards
    import tasks.train.embed  # noqa: F401


if __name__ == "__main__":
    main()
