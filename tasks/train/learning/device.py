"""Where a network learns."""

import torch

from tasks.errors import RequestError


def choose_device(wanted: str) -> str:
    """Return torch's name of a device for `auto`, `cpu` or `cuda:N`.

    Raises:
        RequestError: when there is no such graphics card.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda:0" if cards else "cpu"
    if wanted.startswith("cuda:") and int(wanted.removeprefix("cuda:")) >= cards:
        found = "1 graphics card" if cards == 1 else f"{cards} graphics cards"
        raise RequestError(f"training.device is {wanted}, and torch sees {found} here; choose cpu or auto")
    return wanted
