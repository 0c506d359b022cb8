"""Batch prediction beside a bare loop: the same bundle, the same files, turn by turn.

    uv run python benchmarks/batch_prediction.py --model models:/NAME@staging [--images FOLDER] [--count 600]

The bare loop reads a file, decodes it and runs the network, sixteen images at a time, and keeps nothing. Keeneye lists,
hashes, predicts and keeps the shards (`list_images`, `predict_images`), then writes tables and summary, which are told
apart. The files are the demo's pictures, or those of a folder, copied until there are enough.
"""

import argparse
import statistics
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from pictures import usable_pictures

from flows.predict_config import PredictConfig
from tasks.bundle.predictor import BATCH_SIZE, Predictor
from tasks.ingest.task import list_images
from tasks.predict.task import fetch_model, predict_images, write_predictions
from tasks.stores.home import Home


def main() -> None:
    """Run all rounds, print the table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--model", required=True, help="models:/NAME@ALIAS of the home that KEENEYE_HOME names")
    cli.add_argument("--images", type=Path, help="folder of PNG or JPEG files; the demo's pictures without it")
    cli.add_argument("--count", type=int, default=600)
    cli.add_argument("--rounds", type=int, default=5)
    arguments = cli.parse_args()
    home = Home.from_environment()
    with tempfile.TemporaryDirectory() as scratch:
        folder = _copies(home, arguments.images, Path(scratch) / "images", arguments.count)
        fetched = fetch_model.fn(home, arguments.model)
        predictor = Predictor.open(Path(fetched.bundle_path))
        loops, ours, written = [], [], []
        for number in range(arguments.rounds):
            loops.append(arguments.count / _loop(predictor, folder))
            # A home of its own each time: shards that are kept already would be no work.
            fresh = Home(Path(scratch) / f"home-{number}", home.tracking_uri, home.registry_uri)
            predicting, writing = _batch(fresh, home, arguments.model, folder)
            ours.append(arguments.count / predicting)
            written.append(arguments.count / (predicting + writing))
    print(f"{arguments.count} files, {arguments.rounds} rounds, images a second\n")
    print("| | median | ratio, median of the rounds |\n|---|---|---|")
    print(f"| bare loop | {statistics.median(loops):.1f} | 1.00 |")
    for name, rates in (("list, hash, predict, keep", ours), ("the same with tables and summary", written)):
        ratio = statistics.median(rate / loop for rate, loop in zip(rates, loops, strict=True))
        print(f"| {name} | {statistics.median(rates):.1f} | {ratio:.2f} |")


def _copies(home: Home, images: Path | None, target: Path, count: int) -> Path:
    target.mkdir()
    for number, path in enumerate(islice(cycle(usable_pictures(home, images)), count)):
        (target / f"{number:06}{path.suffix}").write_bytes(path.read_bytes())
    return target


def _loop(predictor: Predictor, folder: Path) -> float:
    start = time.perf_counter()
    files = sorted(folder.iterdir())
    for first in range(0, len(files), BATCH_SIZE):
        predictor.predict_bytes([path.read_bytes() for path in files[first : first + BATCH_SIZE]])
    return time.perf_counter() - start


def _batch(fresh: Home, registered: Home, model: str, folder: Path) -> tuple[float, float]:
    fetched = fetch_model.fn(registered, model)
    config = PredictConfig(model=model, source=str(folder))
    start = time.perf_counter()
    listed = list_images.fn(fresh, config.source, config.images.image_root, config.images.rewrite)
    predicted = predict_images.fn(fresh, fetched, listed, config)
    middle = time.perf_counter()
    write_predictions.fn(fresh, fetched, listed, predicted, config)
    return middle - start, time.perf_counter() - middle


if __name__ == "__main__":
    main()
