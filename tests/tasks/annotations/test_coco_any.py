"""Any COCO document is read, or refused in a sentence; nothing of it is lost in silence."""

import contextlib
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import DataError
from tests.tasks.annotations.coco_documents import FILES, document, read

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from([1, 2, 3])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["id", "name", "bbox", "size", "counts", "x"]), inner, max_size=4),
    ),
    max_leaves=6,
)


def rows(**fields):
    """Rows that are almost right: a good value, any value or none for each key."""
    return st.lists(
        st.one_of(
            st.fixed_dictionaries({}, optional={key: st.one_of(good, JSON) for key, good in fields.items()}), JSON
        ),
        max_size=4,
    )


IDS = st.sampled_from([1, 2, "a"])
NUMBERS = st.one_of(st.integers(-1, 50), st.floats(-1, 50))


@settings(max_examples=100, deadline=None)
@given(
    images=rows(id=IDS, file_name=st.sampled_from(FILES), width=st.just(100), height=st.just(80)),
    annotations=rows(
        id=IDS,
        image_id=IDS,
        category_id=IDS,
        bbox=st.lists(NUMBERS, min_size=4, max_size=4),
        segmentation=st.lists(st.lists(NUMBERS, min_size=6, max_size=6), max_size=2),
        iscrowd=st.just(0),
        score=st.floats(0, 1),
    ),
    categories=rows(id=IDS, name=st.sampled_from(["crack", "dent"])),
)
def test_nothing_is_lost_of_any_rows(tmp_path_factory, images, annotations, categories):
    folder = tmp_path_factory.mktemp("coco")
    reading = read(folder, document(annotations, images, categories))
    told = [finding.message.split()[0] for finding in reading.findings]
    boxes = sum(len(picture.boxes or ()) for picture in reading.images)
    assert boxes + told.count("annotation") == len(annotations)
    assert len(reading.images) + told.count("image") == len(images)
    assert all(
        math.isfinite(box.left + box.top + box.width + box.height) for p in reading.images for box in p.boxes or ()
    )


@settings(max_examples=100, deadline=None)
@given(st.one_of(JSON, st.fixed_dictionaries({key: JSON for key in ("images", "annotations", "categories")})))
def test_any_json_is_read_or_refused_in_a_sentence(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("coco")
    # Whatever else is raised fails the test.
    with contextlib.suppress(DataError):
        assert read(folder, content).images is not None
