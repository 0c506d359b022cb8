import random

import pytest
import torch

from tasks.train.learning.checkpoint import Checkpoint, read_checkpoint


def checkpoint(epochs):
    return Checkpoint(
        network={"w": torch.arange(5.0) + epochs},
        averaged={"w": torch.zeros(2)},
        optimiser={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "share": 0.2}]},
        random_state=torch.get_rng_state(),
        best={},
        best_epoch=0,
        history=[{"epoch": 1.0 + place, "loss": 0.5} for place in range(epochs)],
    )


def test_round_trip(tmp_path):
    kept = checkpoint(2)
    kept.write(tmp_path / "c.pt")
    found = read_checkpoint(tmp_path / "c.pt")
    assert torch.equal(found.network["w"], kept.network["w"])
    assert torch.equal(found.random_state, kept.random_state)
    assert (found.history, found.best, found.optimiser["param_groups"]) == (
        kept.history,
        {},
        kept.optimiser["param_groups"],
    )
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_write_that_is_cut_short_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint(1).write(tmp_path / "c.pt")

    def die(state, stream):
        stream.write(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(torch, "save", die)
        with pytest.raises(KeyboardInterrupt):
            checkpoint(2).write(tmp_path / "c.pt")
    assert len(read_checkpoint(tmp_path / "c.pt").history) == 1
    checkpoint(3).write(tmp_path / "c.pt")
    assert len(read_checkpoint(tmp_path / "c.pt").history) == 3


def test_no_file_is_no_checkpoint(tmp_path):
    assert read_checkpoint(tmp_path / "none.pt") is None
    assert read_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x80\x02.", b"\x80\x02q", b"\x80\x02h\x05.", b"PK\x03\x04", b"\x80\x02N.", b"]]]", b"X\x05"],
    ids=range(9),
)
def test_other_file_is_no_checkpoint(content, tmp_path):
    (tmp_path / "c.pt").write_bytes(content)
    assert read_checkpoint(tmp_path / "c.pt") is None


@pytest.mark.parametrize("value", [{"best_epoch": 1}, {"other": 1}, [1, 2], torch.zeros(3), None], ids=range(5))
def test_file_of_another_kind_is_no_checkpoint(value, tmp_path):
    torch.save(value, tmp_path / "c.pt")
    assert read_checkpoint(tmp_path / "c.pt") is None


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_file_that_was_cut_or_damaged_is_no_reason_to_stop(tmp_path):
    path = tmp_path / "c.pt"
    checkpoint(1).write(path)
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(60):
        path.write_bytes(whole[: rng.randrange(len(whole))])
        assert read_checkpoint(path) is None
    for _ in range(150):
        path.write_bytes(b"\x80\x02" + bytes(rng.choice(b"}]q\x00\x01(X.cKBuhsRNab") for _ in range(30)))
        assert read_checkpoint(path) is None
