"""Images in an object store: the download beside plain parallel boto3, and ingest beside download and local ingest.

    uv run python benchmarks/object_store.py [IMAGES]

Starts the store of the tests (SeaweedFS) in a temporary folder.
"""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import numpy as np
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flows.config import DataConfig
from tasks.ingest.object_sources import fetch_folder
from tasks.ingest.task import ingest_images
from tasks.stores.home import Home
from tasks.stores.s3_objects import ObjectPlace, in_parallel
from tasks.stores.s3_requests import THREADS
from tests.makers import png_bytes
from tests.object_store import running_object_store

SIDE = 184
"""A PNG of noise of this side has about 100 kB."""
ROUNDS = 3
PREFIX = "images/"


def main(count: int) -> None:
    """Measure with so many images, and print the ratios."""
    with tempfile.TemporaryDirectory(prefix="keeneye-benchmark-") as folder:
        root = Path(folder)
        (root / "store").mkdir()
        with running_object_store(root / "store", volume_mb=1024) as store:
            os.environ.update(store.environment)
            size = fill(store, count)
            print(f"{count} images of {size / count / 1000:.0f} kB, best of {ROUNDS}")
            plain = best(lambda number: download_plainly(store, root / f"plain{number}"))
            ours = best(lambda number: download(root / f"ours{number}"))
            print(f"plain parallel boto3 {plain:.2f} s, download {ours:.2f} s: {plain / ours:.2f} of its speed")
            local = best(lambda number: ingest(root / f"local{number}", str(root / "plain0")))
            remote = best(lambda number: ingest(root / f"remote{number}", f"s3://{store.bucket}/{PREFIX}"))
            print(f"ingest here {local:.2f} s, from the store {remote:.2f} s: {remote / (ours + local):.2f} of both")


def best(work) -> float:
    """Return the shortest time of several rounds, in seconds."""
    seconds = []
    for number in range(ROUNDS):
        begun = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def fill(store, count: int) -> int:
    """Keep images of noise, no two alike, of two labels; returns their bytes."""
    # A store that has just started answers with errors while it makes its first volumes.
    config = Config(max_pool_connections=THREADS, retries={"mode": "standard", "total_max_attempts": 8})
    rng, client = np.random.default_rng(0), boto3.client("s3", config=config)
    images = [png_bytes(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)) for _ in range(min(count, 100))]

    def put(number: int) -> int:
        # What stands behind an image's end is no part of it, but makes its bytes unlike all others.
        content = images[number % len(images)] + number.to_bytes(4, "big")
        client.put_object(Bucket=store.bucket, Key=f"{PREFIX}{'ab'[number % 2]}/{number:06}.png", Body=content)
        return len(content)

    return sum(in_parallel(put, range(count)))


def download_plainly(store, folder: Path) -> None:
    """What anybody would write: list, then get each in a thread."""
    config = Config(max_pool_connections=THREADS)
    client = boto3.client("s3", config=config)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=PREFIX)
    keys = [one["Key"] for page in pages for one in page["Contents"]]

    def get(key: str) -> None:
        path = folder / key.removeprefix(PREFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.get_object(Bucket=store.bucket, Key=key)["Body"].read())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(get, keys))


def download(folder: Path) -> None:
    """Download as a source in the store is, into an empty home."""
    place = ObjectPlace("pictures", PREFIX)
    fetch_folder(place, Home(folder, "", "").store, lambda done, total: None)


def ingest(folder: Path, source: str) -> None:
    """Ingest into an empty home."""
    ingest_images.fn(Home(folder, "", ""), DataConfig(source=source))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
