"""What a killed training goes on from: arrays by name, each part whole or not there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.stores.content import ContentStore, StageKey

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Finished parts of one training, in a content store of their own that goes when the training is done.

    Attributes:
        folder: of the store; nothing else shapes the parts than what shapes the training whose folder it is.
    """

    folder: Path

    def reuse_or_make(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """Return a part's arrays: those kept under its name, else what `make` gives, which is kept first."""
        store = ContentStore(self.folder)
        key = StageKey(stage="part", version="1", inputs={}, config={"name": name})
        if store.find(key) is None:
            with store.create(key) as made:
                for array, values in make().items():
                    np.save(made / f"{array}.npy", values, allow_pickle=False)
        files = store.entry_path(key).glob("*.npy")
        return {path.stem: np.load(path, allow_pickle=False) for path in files}
