import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.serving.arns import (
    Owner,
    ProjectArn,
    VersionArn,
    fits_arn,
    is_number,
    parse_project_arn,
    parse_version_arn,
)

START = "arn:aws:rekognition:us-east-1:000000000000"
NAMES = st.from_regex(r"[a-zA-Z0-9_.\-]{1,255}", fullmatch=True)


def test_project_is_read_and_written():
    arn = ProjectArn(Owner("us-east-1", "000000000000"), "bolts", "1700000000000")
    assert str(arn) == f"{START}:project/bolts/1700000000000"
    assert parse_project_arn(str(arn)) == arn


@settings(max_examples=50, deadline=None)
@given(NAMES, NAMES, st.from_regex(r"[0-9]{1,20}", fullmatch=True))
def test_version_is_read_as_written(name, qualifier, digits):
    arn = VersionArn(Owner("eu-central-1", "123456789012", "aws-cn"), name, qualifier, digits)
    assert parse_version_arn(str(arn)) == arn
    with pytest.raises(ValueError, match="no project's ARN"):
        parse_project_arn(str(arn))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bolts",
        f"{START}:project/bolts",
        f"{START}:project/bolts/",
        f"{START}:project/bolts/12x",
        f"{START}:project/bolts/1\n",
        f"{START}:project/bolts/١٢",
        f"{START}:project/bo lts/1",
        f"{START}:project/{'b' * 256}/1",
        f"{START}:project/bolts/version/1/1",
        "arn:aws:rekognition:us-east-1:00000000000:project/bolts/1",
        "arn:aws:s3:us-east-1:000000000000:project/bolts/1",
        f" {START}:project/bolts/1",
    ],
)
def test_what_is_no_project_is_refused(text):
    with pytest.raises(ValueError, match="no project's ARN"):
        parse_project_arn(text)


@pytest.mark.parametrize(
    "text", ["", f"{START}:project/bolts/1", f"{START}:project/bolts/version/1", f"{START}:project/bolts/version//1"]
)
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ValueError, match="no version's ARN"):
        parse_version_arn(text)


@pytest.mark.parametrize(
    ("qualifier", "expected"),
    [
        *(("1", True), ("2147483647", True), ("2147483648", False), ("9" * 255, False), ("0", False), ("03", False)),
        *(("production", False), ("-1", False), ("1.0", False), ("٣", False), ("1\n", False), ("", False)),
    ],
)
def test_numbers_are_told_from_aliases(qualifier, expected):
    assert is_number(qualifier) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bolts-classification", True),
        ("a.b_C-9", True),
        ("", False),
        ("a b", False),
        ("a/b", False),
        ("x" * 256, False),
    ],
)
def test_names_that_fit(name, expected):
    assert fits_arn(name) is expected
