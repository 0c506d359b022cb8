import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.annotations.dates import UNDATED, canonical_date


@pytest.mark.parametrize(
    ("stated", "canonical"),
    [
        pytest.param("2018-10-18T22:18:13.527256", "2018-10-18T22:18:13.527256", id="Ground Truth"),
        pytest.param("2021-06-22T09:58:34.811Z", "2021-06-22T09:58:34.811000", id="milliseconds and Z"),
        pytest.param("2021-06-22T09:58:34", "2021-06-22T09:58:34.000000", id="no fraction"),
        pytest.param("2021-06-22 09:58:34.5", "2021-06-22T09:58:34.500000", id="space for T"),
        pytest.param("2021-06-22T09:58:34+02:00", "2021-06-22T07:58:34.000000", id="east of Greenwich"),
        pytest.param("2021-06-22T23:58:34-0130", "2021-06-23T01:28:34.000000", id="west, into the next day"),
        pytest.param("2021-06-22T09:58:34.999999999", "2021-06-22T09:58:34.999999", id="nanoseconds are cut"),
        pytest.param(
            "Mon Aug 22 2022 13:52:52 GMT-0700 (Pacific Daylight Time)", "2022-08-22T20:52:52.000000", id="JavaScript"
        ),
        pytest.param("Mon Aug 22 2022 13:52:52 GMT+0200", "2022-08-22T11:52:52.000000", id="JavaScript, no comment"),
        pytest.param("22 Aug 2022 13:52 GMT-0700", "2022-08-22T20:52:00.000000", id="GMT minus is west"),
        pytest.param("Mon, 22 Aug 2022 13:52:52 GMT", "2022-08-22T13:52:52.000000", id="mail"),
        pytest.param("20210622T095834Z", "2021-06-22T09:58:34.000000", id="basic ISO"),
        pytest.param("2021-06-22", "2021-06-22T00:00:00.000000", id="day alone"),
        pytest.param(" 2021-06-22T09:58:34 ", "2021-06-22T09:58:34.000000", id="blanks around"),
        pytest.param("10:30", "", id="no day: the clock must not decide"),
        pytest.param("June 2021", "", id="month alone"),
        pytest.param("2021-06-22T09:58:34 XYZ", "", id="zone without offset"),
        pytest.param("2021-13-45T00:00:00", "", id="no such day"),
        pytest.param("0001-01-01T00:00:00+05:00", "", id="before the first year"),
        pytest.param("9" * 99, "", id="digits"),
        pytest.param("2021-06-22T09:58:34" + "0" * 1000, "", id="long"),
        pytest.param("yesterday", "", id="words"),
        pytest.param("", "", id="empty"),
        pytest.param(None, "", id="null"),
        pytest.param(1534974772, "", id="number"),
        pytest.param(UNDATED, "", id="Keeneye's own for no date"),
    ],
)
def test_every_form_gives_one_form(stated, canonical):
    assert canonical_date(stated) == canonical


@pytest.fixture
def _zone_of_this_computer(monkeypatch):
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zone_of_this_computer")
def test_zone_of_this_computer_does_not_matter():
    assert os.environ["TZ"] == "America/Los_Angeles"
    assert canonical_date("2021-06-22 09:58") == "2021-06-22T09:58:00.000000"
    assert canonical_date("22 Jun 2021 09:58 PDT") == ""


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="0123456789-:.TZ+ GMTJanMon,/()", max_size=40) | st.text(max_size=120))
def test_any_text_gives_a_canonical_date_or_none(text):
    canonical = canonical_date(text)
    assert canonical == "" or canonical_date(canonical) == canonical
    assert len(canonical) in (0, 26)


@settings(max_examples=100, deadline=None)
@given(st.datetimes())
def test_iso_dates_stay(moment):
    text = moment.isoformat(timespec="microseconds")
    assert canonical_date(text) == ("" if text == UNDATED else text)
