"""The arrows between the rooms, and who may import what: flows -> stages -> nouns."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = {
    *("ingest", "manifest", "export", "train", "evaluate", "inference_test", "register", "report"),
    *("predict", "bundle_export", "promote", "compare", "explain"),
}
NETWORKS = ("tasks/train/classifier/", "tasks/train/detector/", "tasks/train/learning/")
"""Rooms whose modules import torch when they are imported."""
OF_CONFIGS = (
    r"(flows\.([a-z_]+_)?config|tasks\.errors|tasks\.tracking\.environment_names|tasks\.train\.option_limits)(\.|$)"
)
"""What a config may import of Keeneye: cheap to import, for the command line reads a request before anything else."""
NOUNS = {
    *(
        "annotations",
        "bundle",
        "dataset",
        "features",
        "ground_truth",
        "metrics",
        "serving",
        "shards",
        "stores",
        "tracking",
    ),
    "vision",
}
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for room in ("flows", "tasks", "deployments")
    for path in (ROOT / room).rglob("*.py")
)


def imports(module: str) -> Iterator[str]:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        yield from imported_by(node)


def imported_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import from {node.module}"
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers_of(package: str) -> set[str]:
    return {
        module
        for module in MODULES
        if any(name == package or name.startswith(f"{package}.") for name in imports(module))
    }


def room_of(module: str) -> str:
    parts = module.split("/")
    return parts[1] if parts[0] == "tasks" and len(parts) > 2 else parts[0]


def test_every_room_is_known():
    rooms = {path.name for path in (ROOT / "tasks").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == STAGES | NOUNS


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        pytest.param("prefect", ("flows/", "tasks/engine.py"), id="prefect in flows and the engine"),
        pytest.param("mlflow", ("tasks/tracking/",), id="mlflow in tracking"),
        pytest.param("boto3", ("tasks/stores/",), id="boto3 in stores"),
        pytest.param("torch", ("tasks/train/",), id="torch in train"),
        pytest.param("torchvision", ("tasks/train/",), id="torchvision in train"),
        pytest.param("timm", ("tasks/train/",), id="timm in train"),
        pytest.param("safetensors", ("tasks/train/",), id="safetensors in train"),
        pytest.param("optuna", ("tasks/train/",), id="optuna in train"),
        pytest.param("faster_coco_eval", ("tasks/metrics/",), id="COCO's figures in metrics"),
        pytest.param("matplotlib", ("tasks/evaluate/*figures.py",), id="matplotlib in figures"),
        pytest.param(
            "onnxruntime", ("tasks/bundle/", "tasks/bundle_export/"), id="onnxruntime in bundle and its export"
        ),
        pytest.param("openvino", ("tasks/bundle_export/",), id="openvino in the export"),
        pytest.param("distributed", ("tasks/shards/",), id="Dask in shards"),
        pytest.param("tasks.engine", ("tasks/*/*task.py",), id="engine in shells"),
    ],
)
def test_library_has_a_home(package, homes):
    strangers = {
        module
        for module in importers_of(package)
        if not any(module.startswith(home) or Path(module).match(home) for home in homes)
    }
    assert not strangers


def imports_at_start(module: str) -> set[str]:
    """What the import of a module imports: neither functions' own imports nor those for type checkers."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    return {name for node in run_at_start(tree.body) for name in imported_by(node)}


def run_at_start(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in statements:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from run_at_start(node.orelse)
            continue
        yield node
        inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        handlers = [one for handler in getattr(node, "handlers", []) for one in handler.body]
        yield from run_at_start([*inner, *handlers])


@pytest.mark.parametrize("library", ["torch", "torchvision", "timm", "safetensors", "optuna"])
def test_torch_is_imported_only_where_it_is_used(library):
    importers = {
        module
        for module in MODULES
        if any(name == library or name.startswith(f"{library}.") for name in imports_at_start(module))
    }
    assert not {module for module in importers if not module.startswith(NETWORKS)}
    assert importers


def test_networks_are_imported_only_when_they_are_needed():
    packages = tuple(room.replace("/", ".") for room in NETWORKS)
    others = [module for module in MODULES if not module.startswith(NETWORKS)]
    assert not [
        module for module in others if any(f"{name}.".startswith(packages) for name in imports_at_start(module))
    ]
    assert [module for module in others if any(name.startswith(packages) for name in imports(module))]


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in NOUNS])
def test_noun_knows_no_stage_and_no_flow(module):
    for name in imports(module):
        top, _, rest = name.partition(".")
        assert top not in {"flows", "deployments"}, f"{module} imports {name}"
        assert not (top == "tasks" and rest.split(".")[0] in STAGES | {"engine"}), f"{module} imports {name}"


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in STAGES])
def test_stage_meets_other_stages_only_through_records(module):
    own = room_of(module)
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == "flows":
            assert parts[1] == "config" or parts[1].endswith("_config"), f"{module} imports {name}"
            assert Path(module).match("*task.py"), f"{module} is no shell, yet imports {name}"
        if parts[0] == "tasks" and len(parts) > 1 and parts[1] in STAGES - {own}:
            assert parts[2:3] == ["records"], f"{module} imports {name}"
        assert parts[0] != "deployments"


@pytest.mark.parametrize("module", [one for one in MODULES if Path(one).match("flows/*config.py")])
def test_config_imports_nothing_of_keeneye_but_its_base(module):
    own = [name for name in imports(module) if name.split(".")[0] in {"flows", "tasks", "deployments"}]
    assert not [name for name in own if not re.match(OF_CONFIGS, name)]


def test_flow_is_a_page():
    flows = [module for module in MODULES if "@flow(" in (ROOT / module).read_text(encoding="utf-8")]
    assert flows
    for module in flows:
        assert module.startswith("flows/")
        assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) <= 80, module


def test_every_stage_and_noun_has_a_readme():
    missing = [room for room in sorted(STAGES | NOUNS) if not (ROOT / "tasks" / room / "README.md").is_file()]
    assert not missing
