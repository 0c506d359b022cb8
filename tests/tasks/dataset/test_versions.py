import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.dataset.entries import SPLITS, Split
from tasks.dataset.versions import DatasetCatalogue, DatasetVersion, manifests_digest, merged_assignments

SCHEME = "70/15/15"


def version(digest: str, made_from: str = "m", parent: str = "", **assignments: Split) -> DatasetVersion:
    return DatasetVersion(
        name="parts", scheme=SCHEME, digest=digest, parent=parent, made_from=made_from, assignments=assignments
    )


@pytest.fixture
def catalogue(tmp_path: Path) -> DatasetCatalogue:
    return DatasetCatalogue(tmp_path / "datasets")


def test_unknown_dataset_has_no_version(catalogue: DatasetCatalogue) -> None:
    assert catalogue.latest("parts", SCHEME) is None
    assert catalogue.parent_for("parts", SCHEME, "m") is None


def test_published_version_is_the_latest(catalogue: DatasetCatalogue) -> None:
    for made in (version("one", "m1", a="train"), version("two", "m2", "one", a="train", b="test")):
        catalogue.publish(made)
        assert catalogue.latest("parts", SCHEME) == made
        assert catalogue.version("parts", SCHEME, made.digest) == made


def test_publishing_twice_changes_nothing(catalogue: DatasetCatalogue, tmp_path: Path) -> None:
    catalogue.publish(version("one", a="train"))
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    catalogue.publish(version("one", a="train"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    assert len(files) == 2


@pytest.mark.parametrize(
    ("made_from", "parent"),
    [
        pytest.param("m2", "one", id="the same again descends from the same"),
        pytest.param("m3", "two", id="something new descends from the latest"),
        pytest.param("m1", "two", id="something old again descends from the latest"),
    ],
)
def test_parent(catalogue: DatasetCatalogue, made_from: str, parent: str) -> None:
    catalogue.publish(version("one", "m1"))
    catalogue.publish(version("two", "m2", "one"))
    found = catalogue.parent_for("parts", SCHEME, made_from)
    assert found is not None
    assert found.digest == parent


def test_first_version_made_again_has_no_parent(catalogue: DatasetCatalogue) -> None:
    catalogue.publish(version("one", "m1"))
    assert catalogue.parent_for("parts", SCHEME, "m1") is None


def test_version_that_came_before_keeps_its_parent_and_gains_assignments(catalogue: DatasetCatalogue) -> None:
    catalogue.publish(version("one", "m1", a="train"))
    catalogue.publish(version("two", "m2", "one", a="train", b="test"))
    catalogue.publish(version("one", "m1", "two", a="train", b="test"))
    latest = catalogue.latest("parts", SCHEME)
    assert latest == version("one", "m1", "", a="train", b="test")


def test_published_assignments_are_never_overwritten(catalogue: DatasetCatalogue) -> None:
    catalogue.publish(version("one", a="train"))
    catalogue.publish(version("one", a="test", b="test"))
    latest = catalogue.latest("parts", SCHEME)
    assert latest is not None
    assert latest.assignments == {"a": "train", "b": "test"}


def test_schemes_and_names_have_lines_of_their_own(catalogue: DatasetCatalogue) -> None:
    catalogue.publish(version("one"))
    assert catalogue.latest("parts", "80/20") is None
    assert catalogue.latest("other", SCHEME) is None
    catalogue.publish(version("two").model_copy(update={"scheme": "80/20"}))
    assert [catalogue.latest("parts", scheme).digest for scheme in (SCHEME, "80/20")] == ["one", "two"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name",
    ["", "..", ".hidden", "a/b", "a b", "-dash", "../x", "x" * 65, "a\n", "größe", "a\0"],
    ids=repr,
)
def test_names_that_are_no_dataset_names(catalogue: DatasetCatalogue, name: str) -> None:
    with pytest.raises(ValueError, match="dataset name"):
        catalogue.latest(name, SCHEME)
    with pytest.raises(ValueError, match="dataset name"):
        catalogue.publish(version("one").model_copy(update={"name": name}))


@pytest.mark.parametrize("name", ["a", "A-1", "transistors_2.0", "x" * 64])
def test_names_that_are(catalogue: DatasetCatalogue, name: str) -> None:
    made = version("one").model_copy(update={"name": name})
    catalogue.publish(made)
    assert catalogue.latest(name, SCHEME) == made


def test_damaged_version_is_not_taken_for_a_version(catalogue: DatasetCatalogue, tmp_path: Path) -> None:
    catalogue.publish(version("one"))
    (path,) = (tmp_path / "datasets").rglob("one.json")
    path.write_text(json.dumps({"name": "parts"}))
    with pytest.raises(ValidationError):
        catalogue.latest("parts", SCHEME)


ASSIGNMENTS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(SPLITS))


@settings(deadline=None)
@given(ASSIGNMENTS, ASSIGNMENTS)
def test_merged_assignments_hold_both_sorted(earlier: dict[str, Split], new: dict[str, Split]) -> None:
    merged = merged_assignments(version("one", **earlier), new)
    assert list(merged) == sorted({*earlier, *new})
    assert {group: merged[group] for group in new} == new
    assert {group: merged[group] for group in earlier if group not in new} == {
        group: split for group, split in earlier.items() if group not in new
    }


def test_merged_assignments_of_a_first_version() -> None:
    assert merged_assignments(None, {"b": "test", "a": "train"}) == {"a": "train", "b": "test"}


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(SPLITS), st.binary(max_size=5), min_size=1))
def test_digest_is_of_bytes_and_split_names(contents: dict[Split, bytes]) -> None:
    with TemporaryDirectory() as folder:
        paths = {split: Path(folder) / split for split in contents}
        for split, data in contents.items():
            paths[split].write_bytes(data)
        digest = manifests_digest(paths)
        assert digest == manifests_digest(dict(reversed(paths.items())))
        for path in paths.values():
            data = path.read_bytes()
            path.write_bytes(data + b"x")
            assert manifests_digest(paths) != digest
            path.write_bytes(data)


def test_digest_tells_which_split_holds_what(tmp_path: Path) -> None:
    one, other = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"x")
    other.write_bytes(b"y")
    assert manifests_digest({"train": one, "test": other}) != manifests_digest({"train": other, "test": one})
