import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.serving.paging import InvalidPageToken, page_of


def place(number):
    return number, ""


def all_pages(items, limit, scope="numbers"):
    token, pages = "", []
    while not pages or token:
        assert len(pages) < 100
        page = page_of(items, place, scope=scope, token=token, limit=limit)
        pages.append(page.items)
        token = page.next_token
    return pages


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(-(10**9), 10**9), max_size=30), st.integers(1, 12))
def test_pages_together_are_the_sorted_list(items, limit):
    pages = all_pages(list(items), limit)
    assert [one for page in pages for one in page] == sorted(items)
    assert all(len(page) == limit for page in pages[:-1])
    assert len(pages) == max(1, -(-len(items) // limit))


def test_what_comes_and_goes_meanwhile_hides_nothing_else():
    first = page_of([1, 3, 5, 7], place, scope="numbers", token="", limit=2)
    second = page_of([2, 5, 6, 7], place, scope="numbers", token=first.next_token, limit=2)
    assert (first.items, second.items) == ([1, 3], [5, 6])


def token_of(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


TOKEN = page_of([1, 2, 3], place, scope="numbers", token="", limit=1).next_token
DIGEST = json.loads(base64.urlsafe_b64decode(TOKEN))[0]


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "é",
        "%%%",
        TOKEN + "A",
        token_of(5),
        token_of([]),
        token_of([DIGEST, "1", ""]),
        token_of([DIGEST, 1, None]),
        token_of([DIGEST, 1]),
        token_of(["0" * 16, 1, ""]),
        token_of([[[]]] * 3),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_token_that_was_not_given_is_refused(token):
    with pytest.raises(InvalidPageToken):
        page_of([1, 2, 3], place, scope="numbers", token=token, limit=1)


def test_token_of_another_list_is_refused():
    with pytest.raises(InvalidPageToken):
        page_of([1, 2, 3], place, scope="letters", token=TOKEN, limit=1)
    assert page_of([1, 2, 3], place, scope="numbers", token=TOKEN, limit=5).items == [2, 3]
