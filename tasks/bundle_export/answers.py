"""Both models' answers on the same images, framed once, with little held in memory whatever the images' size."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tasks.bundle.predictor import BATCH_SIZE, Prediction, Predictor, PreparedImage
from tasks.bundle_export.frozen import decode_frozen
from tasks.dataset.entries import ImageEntry

Answers = list[Prediction]


def prepared_batches(predictor: Predictor, root: Path, entries: Sequence[ImageEntry]) -> Iterator[list[PreparedImage]]:
    """Yield the images prepared as the model takes them, `BATCH_SIZE` at a time; one is decoded at a time.

    Raises:
        SourceChanged: when a file is gone, or its bytes are not those that the version was made with.
    """
    for start in range(0, len(entries), BATCH_SIZE):
        yield [predictor.prepare(decode_frozen(root, entry)) for entry in entries[start : start + BATCH_SIZE]]


def answer_both(
    original: Predictor,
    exported: Predictor,
    root: Path,
    entries: Sequence[ImageEntry],
    report: Callable[[int, int], None],
) -> tuple[Answers, Answers]:
    """Return the answers of both, in the order of the entries; `report(done, total)` is called per batch."""
    before: Answers = []
    after: Answers = []
    for batch in prepared_batches(original, root, entries):
        before += original.predict_prepared(batch)
        after += exported.predict_prepared(batch)
        report(len(before), len(entries))
    return before, after
