"""What is said of errors in one sentence."""

import pytest

from tasks.errors import last_line


@pytest.mark.parametrize(
    ("said", "last"),
    [
        pytest.param("warning: slow\n  fatal: no room  \n\n \n", "fatal: no room", id="blank lines after it"),
        pytest.param("fatal: no room", "fatal: no room", id="one line"),
        pytest.param(" \n", "it said nothing", id="blank"),
        pytest.param("", "it said nothing", id="nothing"),
    ],
)
def test_last_line_of_what_a_program_wrote(said, last):
    assert last_line(said) == last
