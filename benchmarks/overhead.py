"""What Prefect and MLflow cost: the same training through the flow, and as plain calls of the same stages.

    uv run python benchmarks/overhead.py [--rounds 3]

Every training is a process of its own, timed from its start to its end, with a home that holds the exported backbone
and nothing else. Bare, the stages' functions are called in the order of the flow, and neither Prefect nor MLflow is
imported. What the flow does besides (the inference test, the report) is taken off its time. Servers are those of
`keeneye up`; embedded defaults have their databases already, except in the first run.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from tests.conftest import INPUT_SIZE, QUICK_OPTIONS
from tests.deployments.site.running import free_site, options
from tests.makers import paint_class_folders

LIMITS = {"first run": 30.0, "embedded": 15.0, "servers": 6.0}
"""Wanted: seconds over the bare run, at most."""
BESIDES = ("inference_test", "report")
"""Stages of the flow that the bare run has not."""
OF_MLFLOW = ("register", "staging")
GATE = ("--gate.min_macro_f1", "0", "--gate.min_label_recall", "0", "--gate.max_latency_ms", "60000")
START_SECONDS = 400


@dataclass(frozen=True)
class Timed:
    """One training, in seconds: the whole process without `BESIDES`, and its stages."""

    seconds: float
    stages: dict[str, float]

    def within(self, *names: str) -> float:
        """Return what some stages took; all that both runs have when none is named."""
        wanted = names or [name for name in self.stages if name not in (*BESIDES, *OF_MLFLOW)]
        return sum(self.stages[name] for name in wanted)


def main() -> None:
    """Train in every way, in turns, and print the table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--rounds", type=int, default=3)
    cli.add_argument("--bare", nargs=2, metavar=("SOURCE", "SEED"), help=argparse.SUPPRESS)
    arguments = cli.parse_args()
    if arguments.bare:
        _train_bare(*arguments.bare)
        return
    times: dict[str, list[Timed]] = {"bare": [], **{name: [] for name in LIMITS}}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder.chmod(0o711)  # the user of PostgreSQL passes through
        source = paint_class_folders(folder / "shapes", ("cross", "round", "square"), 50)
        _run([sys.executable, "-m", "flows", *_options(source, 0)], folder / "backbone", {})
        of_site = stack.enter_context(_site(folder))
        for number in range(arguments.rounds):
            home = folder / f"home{number}"
            flow = [sys.executable, "-m", "flows", *_options(source, number)]
            bare = [sys.executable, str(Path(__file__)), "--bare", str(source), str(number)]
            times["bare"].append(_run(bare, _fresh(folder, folder / f"bare{number}"), {}))
            times["first run"].append(_run(flow, _fresh(folder, home), {}))
            # Its databases stay; another seed is another training.
            again = [sys.executable, "-m", "flows", *_options(source, 1000 + number)]
            times["embedded"].append(_run(again, _fresh(folder, home), {}))
            times["servers"].append(_run(flow, _fresh(folder, folder / f"served{number}"), of_site))
    _tell(times)


def _options(source: Path, seed: int) -> list[str]:
    return ["train", "--data.source", str(source), "--training.seed", str(seed), *QUICK_OPTIONS, *GATE]


def _fresh(folder: Path, home: Path) -> Path:
    """Leave nothing in a home but databases and the exported backbone."""
    shutil.rmtree(home / "store", ignore_errors=True)
    shutil.copytree(folder / "backbone" / "store" / "entries" / "backbone", home / "store" / "entries" / "backbone")
    return home


def _run(command: list[str], home: Path, changed: dict[str, str]) -> Timed:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    own = {"KEENEYE_HOME": str(home), "PREFECT_HOME": str(home / "prefect")}
    began = time.perf_counter()
    done = subprocess.run(command, env={**kept, **own, **changed}, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr)
    stages = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return Timed(seconds - sum(stages.get(name, 0.0) for name in BESIDES), stages)


@contextlib.contextmanager
def _site(folder: Path) -> Iterator[dict[str, str]]:
    """Run the servers of a site; gives the environment by which commands use them."""
    data, told = folder / "site", folder / "up.err"
    command = [sys.executable, "-m", "flows", "up", "--data", str(data), *options(free_site())]
    with told.open("w") as stream:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "all services answer" not in told.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(told.read_text())
            time.sleep(0.5)
        lines = (data / "environment").read_text().splitlines()
        yield dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in lines)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


class _Anything(type):
    """A class of which everything may be asked."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing(name)


def _nothing(name: str) -> type:
    return _Anything(name, (Exception,), {"__init__": lambda self, *_, **__: None})


class _Absent(ModuleType):
    """Stands for a library that is not to be imported; whatever is asked of it is a class that does nothing."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing(name)


def _without_prefect_and_mlflow() -> None:
    import logging

    names = ("prefect", "prefect.artifacts", "prefect.cache_policies", "prefect.context", "prefect.logging", "mlflow")
    parts = ("entities", "entities.model_registry", "exceptions", "models", "models.model", "protos.databricks_pb2")
    parts += ("types.schema", "utils.mlflow_tags", "protos", "types", "utils")
    for name in (*names, *(f"mlflow.{part}" for part in parts)):
        sys.modules[name] = _Absent(name)
    sys.modules["prefect"].task = lambda **_: lambda function: function  # type: ignore[attr-defined]
    sys.modules["prefect"].Task = dict  # type: ignore[attr-defined]  # it is subscripted
    sys.modules["prefect.context"].TaskRunContext = type("TaskRunContext", (), {"get": staticmethod(lambda: None)})  # type: ignore[attr-defined]
    sys.modules["prefect.logging"].get_logger = logging.getLogger  # type: ignore[attr-defined]


def _train_bare(source: str, seed: str) -> None:
    """Call the stages one after another and print their times, as the flow's result does."""
    _without_prefect_and_mlflow()
    from flows.config import DataConfig, TrainConfig
    from tasks.evaluate.task import evaluate_model
    from tasks.ingest.task import ingest_images
    from tasks.manifest.task import build_manifest
    from tasks.report.task import write_data_report
    from tasks.stores.home import Home
    from tasks.train.task import train_model

    training = {"input_size": INPUT_SIZE, "algorithm": "logistic", "features": ["embedding"], "views": False}
    gate = {"min_macro_f1": 0.0, "min_label_recall": 0.0, "max_latency_ms": 60_000}
    config = TrainConfig.model_validate(
        {"data": DataConfig(source=source), "training": {**training, "seed": int(seed)}, "gate": gate}
    )
    home = Home.from_environment()
    images = ingest_images(home, config.data)
    manifest = build_manifest(home, images, config.data, config.masks, config.task)
    described = write_data_report(home, images, manifest, config.data, config.masks)
    model = train_model(home, manifest, config)
    measured = evaluate_model(home, manifest, model, config.gate)
    records = {"ingest": images, "manifest": manifest, "data_report": described, "train": model, "evaluate": measured}
    print(json.dumps({"seconds": {name: record.seconds for name, record in records.items()}}))


def _tell(times: dict[str, list[Timed]]) -> None:
    bare = statistics.median(one.seconds for one in times["bare"])
    print("| training | seconds | over bare | wanted | its stages | MLflow's stages | outside of stages |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in times.items():
        seconds = statistics.median(one.seconds for one in runs)
        stages = statistics.median(one.within() for one in runs)
        of_mlflow = statistics.median(one.within(*OF_MLFLOW) if name != "bare" else 0.0 for one in runs)
        over, wanted = (f"{seconds - bare:.1f}", f"{LIMITS[name]:g}") if name in LIMITS else ("", "")
        rest = seconds - stages - of_mlflow
        print(f"| {name} | {seconds:.1f} | {over} | {wanted} | {stages:.1f} | {of_mlflow:.1f} | {rest:.1f} |")


if __name__ == "__main__":
    main()
