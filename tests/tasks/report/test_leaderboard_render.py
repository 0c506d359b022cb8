from html.parser import HTMLParser

import pytest

from tasks.compare.ranking import rank
from tasks.compare.records import Leaderboard
from tasks.report.leaderboard_render import STRIP_MARGIN, STRIP_WIDTH, lowest_shown, render_leaderboard, strip_of
from tests.tasks.compare.measured import standing


@pytest.fixture(scope="module")
def board():
    standings = [
        standing("plain", 0.55, 0.60, 0.65),
        standing("finetune", 0.80, 0.85, 0.90, ms=40.0),
        standing("svm", 0.5, 0.6, outcome="out of time", reason="a fold takes <9> s"),
        standing("cnn", outcome="failed", reason="weights that do not fit"),
    ]
    return Leaderboard(
        dataset_name="<b>parts</b>",
        dataset_digest="a" * 64,
        labels=("good", "cut"),
        images=80,
        ranking=rank(standings, "10m"),
        folder="/nowhere",
        mlflow_run_id="run",
    )


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_refers_to_nothing_outside(board):
    page = render_leaderboard(board)
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    links = [attrs[name] for _, attrs in tags.seen for name in ("href", "src") if name in attrs]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert sum(tag == "circle" for tag, _ in tags.seen) == 3 + 3 + 2
    assert render_leaderboard(board) == page


def test_page_escapes_what_comes_from_data_and_tells_each_reason(board):
    page = render_leaderboard(board)
    assert "<b>parts</b>" not in page
    assert "&lt;b&gt;parts&lt;/b&gt;" in page
    assert "out of time after 2 of 3 folds: a fold takes &lt;9&gt; s" in page
    assert "failed: weights that do not fit" in page
    assert page.index("finetune</span>") < page.index("plain</span>") < page.index("cnn</span>")


def test_strips_share_one_scale():
    low, high = standing("a", 0.52, 0.6), standing("b", 0.9, 1.0)
    assert lowest_shown([low, high, standing("c")]) == 0.5
    strip = strip_of(high, 0.5)
    assert strip.folds[1] == STRIP_WIDTH - STRIP_MARGIN
    assert strip.mean == pytest.approx(sum(strip.folds) / 2, abs=0.1)
    assert strip_of(low, 0.5).folds[0] < strip.folds[0]
    assert strip_of(standing("c"), 0.5) is None
