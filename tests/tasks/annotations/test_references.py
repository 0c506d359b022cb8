import posixpath
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.references import ReferenceResolver, RefusedReference, RewriteRule

ROOT = Path("/data/set")
FILES = (
    "a.png",
    "images/a.png",
    "images/b.png",
    "images/deep/c.png",
    "more/d.png",
    "more/d 1.png",
    "more/e\u202f1.png",
)
RULES = (RewriteRule("s3://bucket/", "images/"), RewriteRule("s3://bucket/special/", "more/"), RewriteRule("C:\\", ""))


@pytest.fixture
def resolver():
    return ReferenceResolver(ROOT, FILES, RULES)


@pytest.mark.parametrize(
    ("reference", "base", "expected"),
    [
        pytest.param("a.png", "", "a.png", id="from the root"),
        pytest.param("a.png", "images", "images/a.png", id="base before root"),
        pytest.param("images/b.png", "annotations", "images/b.png", id="root when not at base"),
        pytest.param("../images/b.png", "annotations", "images/b.png", id="up and down again"),
        pytest.param("./images//b.png", "", "images/b.png", id="untidy"),
        pytest.param("b.png", "annotations", "images/b.png", id="end of one path"),
        pytest.param("deep/c.png", "", "images/deep/c.png", id="end of one path with folder"),
        pytest.param("eep/c.png", "", "eep/c.png", id="a folder's name counts whole"),
        pytest.param("gone.png", "notes", "notes/gone.png", id="no such file"),
        pytest.param("images\\deep\\c.png", "", "images/deep/c.png", id="backslashes"),
        pytest.param("/data/set/more/d.png", "images", "more/d.png", id="absolute"),
        pytest.param("/data/set/more/../a.png", "", "a.png", id="absolute and untidy"),
        pytest.param("file:///data/set/more/d%201.png", "", "more/d 1.png", id="file address"),
        pytest.param("s3://bucket/b.png", "", "images/b.png", id="rule"),
        pytest.param("s3://bucket/special/d.png", "", "more/d.png", id="longest rule"),
        pytest.param("C:\\more\\d.png", "", "more/d.png", id="rule for a drive"),
        pytest.param("e\u202f1.png", "", "more/e\u202f1.png", id="narrow space"),
    ],
)
def test_reference_is_found(resolver, reference, base, expected):
    assert resolver.resolve(reference, base) == expected


def test_end_of_two_paths_is_not_guessed():
    resolver = ReferenceResolver(ROOT, ["x/a.png", "y/a.png"])
    assert resolver.resolve("a.png", "z") == "z/a.png"


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        pytest.param("/etc/passwd", "ERROR_OUTSIDE_SOURCE", id="absolute"),
        pytest.param("//etc/passwd", "ERROR_OUTSIDE_SOURCE", id="two slashes"),
        pytest.param("\\etc\\passwd", "ERROR_OUTSIDE_SOURCE", id="absolute with backslashes"),
        pytest.param("\\\\server\\share\\a.png", "ERROR_OUTSIDE_SOURCE", id="share of a server"),
        pytest.param("../../x", "ERROR_OUTSIDE_SOURCE", id="up"),
        pytest.param("..\\..\\x", "ERROR_OUTSIDE_SOURCE", id="up with backslashes"),
        pytest.param("images/../../..", "ERROR_OUTSIDE_SOURCE", id="up from below"),
        pytest.param("/data/set/../secret", "ERROR_OUTSIDE_SOURCE", id="out of the root"),
        pytest.param("/data/settle/a.png", "ERROR_OUTSIDE_SOURCE", id="neighbour of like name"),
        pytest.param("file:///etc/passwd", "ERROR_OUTSIDE_SOURCE", id="file address"),
        pytest.param("file:///data/set/%2e%2e/x", "ERROR_OUTSIDE_SOURCE", id="escaped dots"),
        pytest.param("C:\\\\etc\\passwd", "ERROR_OUTSIDE_SOURCE", id="rule that leaves a backslash"),
        pytest.param("", "ERROR_INVALID_SOURCE_REF_FORMAT", id="empty"),
        pytest.param("a\0.png", "ERROR_INVALID_SOURCE_REF_FORMAT", id="NUL"),
        pytest.param("a\n.png", "ERROR_INVALID_SOURCE_REF_FORMAT", id="line break"),
        pytest.param("a\u2028.png", "ERROR_INVALID_SOURCE_REF_FORMAT", id="line separator"),
        pytest.param("a\udcff.png", "ERROR_INVALID_SOURCE_REF_FORMAT", id="lone surrogate"),
        pytest.param("file:///data/set/a%00.png", "ERROR_INVALID_SOURCE_REF_FORMAT", id="escaped NUL"),
        pytest.param("file://[/a.png", "ERROR_INVALID_SOURCE_REF_FORMAT", id="broken address"),
        pytest.param("file://host", "ERROR_INVALID_SOURCE_REF_FORMAT", id="address without a path"),
        pytest.param("https://example.com/a.png", "ERROR_INVALID_SOURCE_REF_FORMAT", id="elsewhere"),
        pytest.param("gs://b/a.png", "ERROR_INVALID_SOURCE_REF_FORMAT", id="no rule"),
    ],
)
def test_reference_that_leads_nowhere_is_refused(resolver, reference, code):
    with pytest.raises(RefusedReference) as caught:
        resolver.resolve(reference, "images")
    assert caught.value.code == code
    str(caught.value).encode("utf-8")


def test_refusal_shows_the_rule_that_would_help(resolver):
    with pytest.raises(RefusedReference, match=r"data\.rewrite, such as s3://other/photos/=$"):
        resolver.resolve("s3://other/photos/a.png")


def test_refusal_of_a_long_reference_is_short(resolver):
    with pytest.raises(RefusedReference) as caught:
        resolver.resolve("s3://" + "x" * 100_000)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("s3://b/=photos/", RewriteRule("s3://b/", "photos/")),
        ("s3://b/=", RewriteRule("s3://b/", "")),
        ("s3://b/?v=1=x", RewriteRule("s3://b/?v=1", "x")),
    ],
)
def test_rule_is_read(text, rule):
    assert RewriteRule.parse(text) == rule


@pytest.mark.parametrize("text", ["", "s3://b/", "=photos/"])
def test_text_that_is_no_rule_is_refused(text):
    with pytest.raises(ValueError, match="PREFIX=REPLACEMENT"):
        RewriteRule.parse(text)


def test_many_files_of_one_name_are_searched_fast():
    resolver = ReferenceResolver(ROOT, [f"scene/{number}/rgb.png" for number in range(30_000)])
    start = time.perf_counter()
    found = [resolver.resolve(f"{number}/rgb.png") for number in range(30_000)]
    assert found[7] == "scene/7/rgb.png"
    # Looking at each of the files for each reference takes minutes.
    assert time.perf_counter() - start < 30


@given(
    parts=st.lists(
        st.sampled_from(["..", ".", "a.png", "images", "/", "\\", "file://", "%2e%2e/", "/data/set", "", "C:\\"])
    ),
    glue=st.sampled_from(["", "/", "\\"]),
    base=st.sampled_from(["", "images", "images/deep"]),
)
@settings(max_examples=100, deadline=None)
def test_no_reference_leaves_the_root(parts, glue, base):
    try:
        found = ReferenceResolver(ROOT, FILES, RULES).resolve(glue.join(parts), base)
    except RefusedReference:
        return
    assert posixpath.normpath(ROOT / found).startswith(str(ROOT))
    assert not found.startswith("/")
    assert ".." not in found.split("/")
