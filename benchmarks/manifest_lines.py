"""How long a manifest takes to check and split, beside decoding its lines with json.loads, both on two processes.

    uv run python benchmarks/manifest_lines.py [1000000]

Of the painted lines 80 % have three boxes and 20 % one image-level label; every hundredth is bad (not JSON, a class
that is not in its map, a box off its image, a boolean coordinate). Each measurement runs in a process of its own,
which does half of the work and starts another for the other half, as the scan itself does; its clock runs from before
the other starts. Memory is the sum of the resident sets of both, sampled every 5 ms and from their high-water marks.
The ratio of processor time, which other programs on the machine disturb less, stands beside that of wall time. The
split is the dataset's own, by stratum and rank, of all usable lines.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SIZES = (10_000, 100_000)
LABELS = ("scratch", "dent", "stain", "missing screw", "crack")
ABOUT = '"human-annotated":"yes","creation-date":"2018-10-18T22:18:13.527256","job-name":"labeling-job/bolts"'
COLUMNS = (
    "lines",
    "json.loads (s)",
    "scan and split (s)",
    "of it split (s)",
    "ratio",
    "CPU ratio",
    "us a line",
    "peak MB",
    "allowed MB",
    "valid",
    "invalid",
)
ALLOWED_RATIO = 4.0
ALLOWED_MB, ALLOWED_BYTES_PER_LINE = 150, 100

DECODE = """
import json, subprocess, sys
def decode(path, start, stop):
    with open(path, "rb") as stream:
        if start:
            stream.seek(start - 1)
            stream.readline()
        position = stream.tell()
        for line in stream:
            try:
                json.loads(line)
            except ValueError:
                pass
            position += len(line)
            if position >= stop:
                break
"""
DECODE_HALF = DECODE + "decode(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
DECODE_ALL = (
    DECODE
    + f"""
import os, time
begun = time.perf_counter()
path, size = sys.argv[1], os.path.getsize(sys.argv[1])
other = subprocess.Popen([sys.executable, "-c", {DECODE_HALF!r}, path, str(size // 2), str(size)])
decode(path, 0, size // 2)
other.wait()
print(json.dumps({{"seconds": time.perf_counter() - begun, "cpu": sum(os.times()[:4])}}))
"""
)
SCAN_AND_SPLIT = """
import json, os, sys, time
from pathlib import Path
from tasks.dataset.splits import SHARES_BY_SCHEME, assign_ranked
from tasks.ground_truth.scan import scan_manifest
before = sum(os.times()[:4])
begun = time.perf_counter()
source = Path(sys.argv[1])
scan = scan_manifest(source, "open", 2, problems_path=source.with_suffix(".problems"))
scanned = time.perf_counter()
splits = assign_ranked(scan.digests, scan.strata, SHARES_BY_SCHEME["70/15/15"])
ended = time.perf_counter()
counts = scan.statistics
print(json.dumps({
    "seconds": ended - begun, "cpu": sum(os.times()[:4]) - before, "split": ended - scanned,
    "valid": counts.valid_lines, "invalid": counts.invalid_lines, "split_lines": len(splits),
}))
"""


def paint(path: Path, lines: int) -> None:
    """Write a manifest of so many lines."""
    rng = random.Random(lines)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(lines):
            stream.write((_bad(number, rng) if number % 100 == 99 else _good(number, rng)) + "\n")


def _good(number: int, rng: random.Random) -> str:
    ref = f"images/line-{number % 7}/{number:08d}.jpg"
    return _label_line(ref, rng) if number % 5 == 4 else _box_line(ref, rng)


def _bad(number: int, rng: random.Random) -> str:
    line = _box_line(f"images/bad/{number:08d}.jpg", rng)
    wrong = (line[:-9], line.replace('"class_id":0', '"class_id":9'), line.replace('"left":', '"left":9'),
             line.replace('"width":6', '"width":true,"x":6'))  # fmt: skip
    return rng.choice(wrong)


def _label_line(ref: str, rng: random.Random) -> str:
    label = rng.randrange(len(LABELS))
    return (
        f'{{"source-ref":"{ref}","bolts":{label},"bolts-metadata":{{"class-name":"{LABELS[label]}",'
        f'"confidence":0.94,"type":"groundtruth/image-classification",{ABOUT}}}}}'
    )


def _box_line(ref: str, rng: random.Random) -> str:
    classes = sorted(rng.sample(range(len(LABELS)), 2))
    boxes = ",".join(
        f'{{"class_id":{rng.choice((0, 5))},"left":{rng.randrange(500)},"top":{rng.randrange(400)},'
        f'"width":{rng.randrange(60, 70)},"height":{rng.randrange(20, 80)}}}'
        for _ in range(3)
    )
    return (
        f'{{"source-ref":"{ref}","bolts":{{"image_size":[{{"width":640,"height":480,"depth":3}}],'
        f'"annotations":[{boxes}]}},"bolts-metadata":{{"objects":[{{"confidence":0.94}},{{"confidence":0.9}},'
        f'{{"confidence":0.87}}],"class-map":{{"0":"{LABELS[classes[0]]}","5":"{LABELS[classes[1]]}"}},'
        f'"type":"groundtruth/object-detection",{ABOUT}}}}}'
    )


def measure(code: str, manifest: Path) -> dict[str, float]:
    """Run code in a fresh process; return what it prints, and the peak memory of its tree in MB."""
    process = subprocess.Popen([sys.executable, "-c", code, str(manifest)], cwd=ROOT, stdout=subprocess.PIPE)
    tree = psutil.Process(process.pid)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(tree))
        time.sleep(0.005)
    out, _ = process.communicate()
    return json.loads(out) | {"peak_mb": peak / 1e6}


def _resident(tree: psutil.Process) -> int:
    total = 0
    try:
        for each in (tree, *tree.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def row(lines: int, folder: Path, repeats: int) -> str:
    """Measure one size and return a line of the table; of several runs the quickest counts."""
    manifest = folder / f"{lines}.manifest"
    paint(manifest, lines)
    decoded, scanned = [], []
    for _ in range(repeats):
        decoded.append(measure(DECODE_ALL, manifest))
        scanned.append(measure(SCAN_AND_SPLIT, manifest))
    manifest.unlink()
    base = min(run["seconds"] for run in decoded)
    best = min(scanned, key=lambda run: run["seconds"])
    peak = max(run["peak_mb"] for run in scanned)
    cpu = min(run["cpu"] for run in scanned) / min(run["cpu"] for run in decoded)
    cells = (
        f"{lines:,}",
        f"{base:.2f}",
        f"{best['seconds']:.2f}",
        f"{best['split']:.2f}",
        f"{best['seconds'] / base:.2f}",
        f"{cpu:.2f}",
        f"{best['seconds'] / lines * 1e6:.2f}",
        f"{peak:.0f}",
        f"{ALLOWED_MB + lines * ALLOWED_BYTES_PER_LINE / 1e6:.0f}",
        f"{best['valid']:,}",
        f"{best['invalid']:,}",
    )
    return _table_row(cells)


def _table_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", nargs="?", type=int, default=1_000_000, help="of the largest manifest")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"Ratio allowed: {ALLOWED_RATIO:g}.\n")
    print(_table_row(COLUMNS))
    print("|---" * len(COLUMNS) + "|")
    with tempfile.TemporaryDirectory(prefix="keeneye-benchmark-") as folder:
        for lines in (*(size for size in SIZES if size < arguments.lines), arguments.lines):
            print(row(lines, Path(folder), arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
