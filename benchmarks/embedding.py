"""Embedding image files through the cached ONNX path beside the plain loop: PIL, torchvision transforms, eager timm.

    uv run python benchmarks/embedding.py [--count 2000] [--side 512] [--input-size 224] [--rounds 3]

Paints COUNT pictures as JPEG files. The plain loop reads them sixteen at a time and runs the packaged
EfficientNet-Lite0 in eager torch on two threads; Keeneye runs its export of the same weights, which also gives the
statistics of two stages, and keeps what it computed. Then all is asked for again, as a training with another head
does. Contestants take turns; of each the best round counts.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from tasks.bundle.format import file_sha256
from tasks.bundle.preprocessing import standard_steps
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.stores.content import ContentStore
from tasks.train.backbone import BACKBONE_NAME, FEATURE_WIDTHS, backbone_path, packaged_tensors
from tasks.train.embed import embedding_cache

BATCH = 16
THREADS = 2
WANTED_COLD, WANTED_WARM = 4, 20


def main() -> None:
    """Paint, take turns, print the table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--count", type=int, default=2000)
    cli.add_argument("--side", type=int, default=512, help="of the pictures (pixels)")
    cli.add_argument("--input-size", type=int, default=224, help="of the network (pixels)")
    cli.add_argument("--rounds", type=int, default=3)
    arguments = cli.parse_args()
    torch.set_num_threads(THREADS)
    # Denormal numbers make eager steps several times slower.
    torch.set_flush_denormal(True)
    size = arguments.input_size
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "images"
        entries = paint(root, arguments.count, arguments.side)
        backbone = backbone_path(ContentStore(Path(scratch) / "exported"), size)
        network = plain_network()
        loops, colds, warms = [], [], []
        for number in range(arguments.rounds):
            start = time.perf_counter()
            expected = plain_loop(network, [root / entry.source_ref for entry in entries], size)
            loops.append(time.perf_counter() - start)
            store = ContentStore(Path(scratch) / f"store-{number}")
            first, features = embed(store, backbone, root, entries, size)
            again, _ = embed(store, backbone, root, entries, size)
            colds.append(first)
            warms.append(again)
    likeness = cosines(expected, features[:, 0, : FEATURE_WIDTHS["embedding"]])
    print(f"{arguments.count} images of {arguments.side} pixels, network at {size}; likeness {likeness.min():.4f}\n")
    loop, cold, warm = min(loops), min(colds), min(warms)
    print("| | images a second | ratio |\n|---|---|---|")
    print(f"| plain loop | {arguments.count / loop:.1f} | 1.00 |")
    print(f"| keeneye, cold (wanted {WANTED_COLD}) | {arguments.count / cold:.1f} | {loop / cold:.2f} |")
    print(f"| keeneye, warm (wanted {WANTED_WARM}) | {arguments.count / warm:.0f} | {cold / warm:.0f} of cold |")


def paint(root: Path, count: int, side: int) -> list[ImageEntry]:
    """Write JPEG pictures of smooth colours with some rectangles; return what ingest would say of them."""
    root.mkdir()
    rng = np.random.default_rng(0)
    entries = []
    for number in range(count):
        image = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
        for left, top in rng.integers(0, side - side // 8, (6, 2)).tolist():
            colour = tuple(rng.integers(0, 255, 3).tolist())
            cv2.rectangle(image, (left, top), (left + side // 8, top + side // 8), colour, -1)
        path = root / f"{number:05}.jpg"
        cv2.imwrite(str(path), image)
        entries.append(ImageEntry(path.name, file_sha256(path), side, side, Truth(labels=("a",))))
    return entries


def plain_network() -> torch.nn.Module:
    """Return the packaged network in eager torch."""
    network = timm.create_model(BACKBONE_NAME, pretrained=False)
    network.load_state_dict(packaged_tensors(list(network.state_dict())))
    return network.eval()


def plain_loop(network: torch.nn.Module, paths: Sequence[Path], size: int) -> NDArray[np.float32]:
    """Embed as a careful user would."""
    prepare = transforms.Compose(
        [
            transforms.Resize((size, size), antialias=True),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    rows = []
    with torch.inference_mode():
        for first in range(0, len(paths), BATCH):
            images = [prepare(Image.open(path).convert("RGB")) for path in paths[first : first + BATCH]]
            rows.append(network.forward_head(network.forward_features(torch.stack(images)), pre_logits=True))
    return np.asarray(torch.cat(rows).numpy())


def embed(
    store: ContentStore, backbone: Path, root: Path, entries: Sequence[ImageEntry], size: int
) -> tuple[float, NDArray[np.float32]]:
    """Return the seconds that a store took to give all features, and these."""
    cache = embedding_cache(store, backbone, standard_steps(size))
    start = time.perf_counter()
    features = cache.features(root, entries, lambda done, total: None)
    return time.perf_counter() - start, features


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each pair of rows."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / lengths)


if __name__ == "__main__":
    main()
