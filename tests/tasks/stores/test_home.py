import os
import time
from pathlib import Path

import pytest

from tasks.stores.home import Home


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KEENEYE_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


def test_default_is_a_folder_of_the_working_directory(tmp_path: Path) -> None:
    home = Home.from_environment()
    assert home.root == tmp_path.resolve() / ".keeneye"
    assert home.tracking_uri == f"sqlite:///{home.root}/mlflow.db"
    assert home.registry_uri == home.tracking_uri
    assert not home.root.exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("", ".keeneye", id="empty means default"),
        pytest.param("here/there", "here/there", id="relative"),
        pytest.param("~/keen", "user/keen", id="of the user"),
        pytest.param("a/../b", "b", id="with steps up"),
    ],
)
def test_home_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, expected: str) -> None:
    monkeypatch.setenv("KEENEYE_HOME", value)
    assert Home.from_environment().root == tmp_path.resolve() / expected


def test_absolute_home_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEENEYE_HOME", str(tmp_path / "elsewhere"))
    assert Home.from_environment().root == (tmp_path / "elsewhere").resolve()


@pytest.mark.parametrize(
    ("tracking", "registry", "expected"),
    [
        pytest.param("http://host:5000", "", ("http://host:5000", "http://host:5000"), id="registry follows tracking"),
        pytest.param("http://t", "http://r", ("http://t", "http://r"), id="both"),
    ],
)
def test_addresses_of_mlflow(
    monkeypatch: pytest.MonkeyPatch, tracking: str, registry: str, expected: tuple[str, str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    home = Home.from_environment()
    assert (home.tracking_uri, home.registry_uri) == expected


def test_registry_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://r")
    home = Home.from_environment()
    assert home.registry_uri == "http://r"
    assert home.tracking_uri.startswith("sqlite:///")


def test_everything_lies_below_the_root_without_touching_each_other(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", "sqlite:///t", "sqlite:///r")
    folders = [home.store.root, home.artifacts_path, home.reports_path, home.root / "datasets"]
    assert len(set(folders)) == 4
    assert all(folder.parent == home.root for folder in folders)
    assert home.catalogue.latest("parts", "70/15/15") is None
    assert not home.root.exists()


def test_work_that_nobody_went_on_with_is_swept(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", "", "")
    for name, days in (("old", 15), ("fresh", 13)):
        (home.work_path / name).mkdir(parents=True)
        changed = time.time() - days * 86_400
        os.utime(home.work_path / name, (changed, changed))
    assert home.sweep_work() == ["old"]
    assert [folder.name for folder in home.work_path.iterdir()] == ["fresh"]
    assert Home(tmp_path / "none", "", "").sweep_work() == []


def test_what_processes_share_goes_with_the_last_of_them(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", "", "")
    folder = home.work_path / "shared"
    with home.shared(folder):
        with home.shared(folder):
            folder.mkdir(parents=True)
        assert folder.is_dir()
    assert not folder.exists()


def test_what_an_error_ends_can_be_gone_on_with(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", "", "")
    folder = home.work_path / "shared"
    with pytest.raises(ValueError, match="broken"), home.shared(folder):
        folder.mkdir(parents=True)
        raise ValueError("broken")
    assert folder.is_dir()
