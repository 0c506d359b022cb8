"""The image files that benchmarks of registered models use."""

import sys
from pathlib import Path

from tasks.stores.home import Home
from tasks.vision.images import ImageError, decode_rgb


def usable_pictures(home: Home, folder: Path | None) -> list[Path]:
    """Return the PNG and JPEG images of a folder, or of the demo set in a home; no masks and no broken files."""
    root = folder or home.store.root / "entries" / "demo"
    files = sorted(path for path in root.rglob("*") if path.suffix in (".png", ".jpg"))
    usable = [path for path in files if "ground_truth" not in path.parts and _is_image(path)]
    if not usable:
        sys.exit(f"{root} holds no PNG or JPEG image; name a folder with --images")
    return usable


def _is_image(path: Path) -> bool:
    try:
        decode_rgb(path.read_bytes())
    except ImageError:
        return False
    return True
