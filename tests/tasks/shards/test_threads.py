import threading
import time

import pytest

from tasks.shards import threads as module
from tasks.shards.threads import FIRST_ITEMS, map_in_threads


def where(item):
    return item, threading.current_thread() is threading.main_thread()


def slowly(item):
    time.sleep(0.002)
    return where(item)


@pytest.mark.parametrize("count", [0, 1, FIRST_ITEMS, FIRST_ITEMS + 1, 100])
@pytest.mark.parametrize("function", [where, slowly])
@pytest.mark.parametrize("threads", [1, 4])
def test_all_are_done_in_their_order(count, function, threads):
    assert [item for item, _ in map_in_threads(function, range(count), threads)] == list(range(count))


def test_only_what_takes_long_is_done_in_threads(monkeypatch):
    assert not all(is_main for _, is_main in map_in_threads(slowly, range(40), 4))
    assert all(is_main for _, is_main in map_in_threads(slowly, range(40), 1))
    monkeypatch.setattr(module, "QUICK_SECONDS", 60.0)
    assert all(is_main for _, is_main in map_in_threads(where, range(40), 4))


@pytest.mark.parametrize("bad", [0, FIRST_ITEMS + 3])
def test_an_error_is_raised_where_it_is_made(bad):
    def refuse(item):
        time.sleep(0.002)
        if item == bad:
            raise ValueError(item)
        return item

    made = map_in_threads(refuse, range(30), 4)
    with pytest.raises(ValueError, match=str(bad)):
        list(made)
