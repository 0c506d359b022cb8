import copy
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ground_truth.lines import parse_line
from tests.tasks.ground_truth.manifest_lines import BACKGROUND, MODES, boxes, label_list, line, mask, single

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["yes", "0", "#ffffff"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
_VALID = (
    line(single()),
    line(label_list()),
    line(boxes((0, 1, 2, 30, 40), (5, 600, 400, 40, 80))),
    line(single(), mask({"0": BACKGROUND, "1": {"class-name": "crack", "hex-color": "#2ca02c"}})),
    line(
        {"keeneye-metadata": {"group": "g", "mask-ref": "m.png", "width": 3, "height": 4, "mask-classes": []}}, single()
    ),
)


def places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


@st.composite
def mutated(draw):
    value = copy.deepcopy(draw(st.sampled_from(_VALID)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in places(value) if path]))
        holder = value
        for step in path[:-1]:
            holder = holder[step]
        if draw(st.booleans()):
            holder[path[-1]] = draw(_JSON)
        else:
            del holder[path[-1]]
    return json.dumps(value).encode()


@settings(max_examples=100, deadline=None)
@given(mutated() | _JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60), st.sampled_from(MODES))
def test_any_line_is_judged_and_never_raises(text, mode):
    parsed = parse_line(text, mode)
    assert (parsed.status == "invalid") == any(problem.is_fatal for problem in parsed.problems)
    says_something = bool(parsed.labels) or parsed.boxes is not None or parsed.segmentation is not None
    lists_no_label = parsed.value is not None and [] in parsed.value.values()
    if parsed.status == "valid":
        assert says_something or (lists_no_label and mode != "aws")
    else:
        assert not says_something
    assert all(0 <= confidence <= 1 for confidence in parsed.confidences)
    assert all(type(box.left) in (int, float) and 0 <= box.confidence <= 1 for box in parsed.boxes or ())
    assert sorted(set(parsed.labels)) == list(parsed.labels)
    assert len(parsed.creation_date) in (0, 26)
    if mode == "aws" and parsed.status == "valid" and not parsed.problems:
        assert parse_line(text, "open").status == "valid"
