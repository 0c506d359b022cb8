"""Which images give the ranges: a fair sample, the same whatever order they come in."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bundle.format import read_model_card
from tasks.bundle_export.calibration import choose_images, network_inputs
from tasks.dataset.entries import ImageEntry
from tasks.dataset.truth import Truth
from tasks.errors import SourceChanged
from tasks.ground_truth.manifests import read_manifest


def entry(number, label):
    return ImageEntry(f"{number}.png", f"{(number * 7919) % 10_007:064d}", 8, 8, Truth((label,)))


ENTRIES = [entry(number, "rare" if number % 10 == 0 else "common") for number in range(100)]


@settings(max_examples=30, deadline=None)
@given(st.permutations(ENTRIES), st.integers(1, 120))
def test_order_of_entries_changes_nothing(shuffled, count):
    chosen = choose_images(shuffled, count)
    assert chosen == choose_images(ENTRIES, count)
    assert len(set(chosen)) == min(count, len(ENTRIES))


@pytest.mark.parametrize(("count", "rare"), [(8, 4), (40, 10), (100, 10)])
def test_labels_take_turns(count, rare):
    chosen = Counter(one.truth.labels[0] for one in choose_images(ENTRIES, count))
    assert chosen == {"rare": rare, "common": count - rare}


def test_inputs_are_what_the_network_takes(source, exportable):
    entries = list(read_manifest(source.manifest.manifest_path("train")))[:2]
    card = read_model_card(exportable.model.bundle_path)
    batches = list(network_inputs(card, exportable.source, entries))
    side = exportable.model.input_size
    assert [(batch.shape, batch.dtype) for batch in batches] == [((1, 3, side, side), np.float32)] * 2
    assert not np.array_equal(*batches)


def test_changed_image_is_refused(source, exportable, tmp_path):
    chosen = next(read_manifest(source.manifest.manifest_path("train")))
    (tmp_path / chosen.source_ref).parent.mkdir(parents=True)
    (tmp_path / chosen.source_ref).write_bytes(b"else")
    card = read_model_card(exportable.model.bundle_path)
    with pytest.raises(SourceChanged):
        list(network_inputs(card, tmp_path, [chosen]))
