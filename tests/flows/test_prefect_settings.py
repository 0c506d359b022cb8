"""The Prefect settings of the repository, as an embedded server meets them."""

import json
import os
import sqlite3
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import QUICK_OPTIONS, ROOT, Command
from tests.makers import paint_class_folders

STAGES = {
    "ingest images",
    "build manifest",
    "write data report",
    "train model",
    "evaluate model",
    "explain answers",
    "register version",
    "test inference",
    "judge version",
    "plan staging",
    "compare versions",
    "move version",
    "note staging",
    "write report",
}


def test_recorder_does_not_spin():
    # Prefect takes int(flush_interval): anything below a second becomes a busy loop.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["prefect"]
    assert settings["server"]["services"]["task_run_recorder"]["flush_interval"] >= 1


def test_settings_are_read_from_the_project():
    code = "import prefect.settings as s; print(s.get_current_settings().server.services.task_run_recorder.batch_size)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=True, timeout=60
    )
    assert shown.stdout.strip() == "200"


@pytest.mark.slow
def test_embedded_run_keeps_the_history_of_every_stage(keeneye):
    paint_class_folders(keeneye.folder / "shapes", ("cross", "round"), 12)
    (keeneye.folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    environment = {name: value for name, value in keeneye.environment.items() if name != "PREFECT_API_URL"}
    line = Command(keeneye.folder, {**environment, "PREFECT_HOME": str(keeneye.folder / "prefect")})
    code, out, err = line.run("train", "--data.source", "shapes", *QUICK_OPTIONS, "--gate.min_macro_f1", "0.1")
    assert code == 0, err
    flow_run = json.loads(out)["prefect_flow_run_id"]
    with sqlite3.connect(keeneye.folder / "prefect" / "prefect.db") as database:
        rows = database.execute("select name, state_type from task_run where flow_run_id = ?", [flow_run]).fetchall()
    assert {(name.rpartition("-")[0], state) for name, state in rows} == {(stage, "COMPLETED") for stage in STAGES}
