"""The command line as a user meets it: real processes, exit codes, one sentence, nothing on stdout but the result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.__main__ import parse
from tasks.errors import RequestError
from tests.conftest import ROOT
from tests.makers import paint_class_folders


def keeneye(*arguments, cwd, **environment):
    # These tests also run inside a deployment's build step, where Prefect's own settings are in the environment.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={**outside, "KEENEYE_HOME": str(cwd / "home"), **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["trian"], ["no command 'trian'", "did you mean train"], id="unknown flow"),
        pytest.param(["train", "--gate.min_macro", "0"], ["did you mean --gate.min_macro_f1"], id="unknown option"),
        pytest.param(["train", "--data.soruce=x"], ["did you mean --data.source"], id="misspelt option"),
        pytest.param(["train", "stray"], ["no option stray"], id="stray word"),
        pytest.param(["train", "--gate.min_macro_f1", "7"], ["less than or equal to 1"], id="out of range"),
        pytest.param(["train", "--training.input_size", "100"], ["multiple of 32"], id="wrong multiple"),
        pytest.param(["train", "--training.seed", "x"], ["training.seed", "integer"], id="not a number"),
        pytest.param(["train", "--gate.max_latency_ms", "inf"], ["max_latency_ms = 'inf'", "finite"], id="not finite"),
        pytest.param(["serve", "--max_body_megabytes", "inf"], ["max_body_megabytes = 'inf'", "finite"], id="endless"),
        pytest.param(["train", "--task", "segmentation"], ["task", "'detection'"], id="unknown task"),
        pytest.param(["train", "--data.source"], ["expected one argument"], id="value missing"),
        pytest.param(["train", "--config", "/no/such.yaml"], ["cannot be read"], id="no config file"),
        pytest.param(["train", "--config"], ["--config"], id="config without a file"),
        pytest.param(["predict"], ["model is not given"], id="no model"),
        pytest.param(["export", "--format", "onnx"], ["model is not given"], id="no model to export"),
        pytest.param(["export", "bolts"], ["model = 'bolts'"], id="no alias and no version"),
    ],
)
def test_wrong_request_is_one_sentence(arguments, words):
    with pytest.raises(RequestError) as refused:
        parse(arguments)
    assert "\n" not in refused.value.message
    for word in words:
        assert word in refused.value.message


def test_field_of_another_task_is_refused_in_its_own_sentence():
    with pytest.raises(RequestError) as refused:
        parse(["train", "--training.detector.epochs", "3"])
    assert refused.value.message.startswith("training.detector does nothing for the task classification")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("gate:\n  min_macro: 0\n", "did you mean gate.min_macro_f1", id="unknown field"),
        pytest.param("- a\n- b\n", "holds a list", id="a list"),
        pytest.param("[]\n", "holds a list", id="an empty list"),
        pytest.param("1: photos\n", "there is no field 1", id="a number for a group"),
        pytest.param("cli_args: [--task, detection]\n", "there is no field cli_args", id="no group"),
        pytest.param("a: [", "no YAML", id="broken"),
        pytest.param("data:\n  split: 50/50\n", "data.split", id="wrong value"),
    ],
)
def test_wrong_config_file_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(RequestError) as refused:
        parse(["train", "--config", str(path)])
    assert words in refused.value.message
    assert "\n" not in refused.value.message


def test_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("gate:\n  min_macro_f1: 0.5\n  min_label_recall: 0.1\nregistry:\n  stage: true\n")
    _, config = parse(["train", "--config", str(path), "--gate.min_macro_f1", "0", "--no-registry.stage"])
    assert (config.gate.min_macro_f1, config.gate.min_label_recall) == (0.0, 0.1)
    assert config.registry.stage is False


def test_environment_does_not_change_a_request(monkeypatch):
    monkeypatch.setenv("DATA", '{"source": "elsewhere"}')
    monkeypatch.setenv("TASK", "nonsense")
    assert parse(["train"])[1].data.source.startswith("demo://")


def test_help_teaches(tmp_path):
    shown = keeneye("train", "--help", cwd=tmp_path)
    assert shown.returncode == 0
    for words in ("--data.source", "gate options:", "examples:", "exit codes:", "MVTec"):
        assert words in shown.stdout


def test_help_loads_no_heavy_library(tmp_path):
    code = (
        "import sys\nfrom flows.__main__ import parse\nparse(['train'])\n"
        "print(sorted({'prefect', 'mlflow', 'torch', 'sklearn', 'cv2'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_result_that_cannot_be_written_is_told(unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "flows", "--help"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    assert ended.returncode == 3
    assert ended.stderr.startswith("keeneye: the result cannot be written to stdout: No space left on device")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_reader_that_leaves_is_no_failure(unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "flows", "--help"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_misspelt_option_ends_with_2_and_an_empty_stdout(tmp_path):
    ended = keeneye("train", "--data.soruce", "x", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_missing_source_ends_with_2(tmp_path):
    ended = keeneye("train", "--data.source", "nowhere", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("keeneye: there is no folder or file nowhere")
    assert ended.stderr.count("\n") == 1


def test_data_that_says_no_ends_with_1_and_a_record(tmp_path, prefect_url):
    (tmp_path / "photos").mkdir()
    ended = keeneye("train", "--data.source", "photos", cwd=tmp_path, PREFECT_API_URL=prefect_url)
    assert ended.returncode == 1
    record = json.loads(ended.stdout)
    assert (record["status"], record["error"]) == ("failed", "DataError")
    assert "holds no image" in record["message"]
    assert "Traceback" not in ended.stderr


def test_unreachable_prefect_ends_with_3_and_a_record(tmp_path):
    paint_class_folders(tmp_path / "shapes", ("cross", "round"), 6)
    ended = keeneye(
        "train",
        "--data.source",
        "shapes",
        cwd=tmp_path,
        PREFECT_API_URL="http://127.0.0.1:9/api",
        PREFECT_CLIENT_MAX_RETRIES="0",
    )
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["error"] == "EnvironmentFailed"
    assert "Traceback" not in ended.stderr


def test_home_that_cannot_be_made_ends_with_3_and_one_sentence(tmp_path):
    ended = keeneye("train", cwd=tmp_path, KEENEYE_HOME="/proc/keeneye")
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["status"] == "failed"
    assert "Traceback" not in ended.stderr
