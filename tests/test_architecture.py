"""The house rules that a machine can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "tasks", "storage", "model")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NUMPY_HALF = (
    "model.types",
    "model.config",
    "model.errors",
    "model.shots",
    "model.segments",
    "model.stitching",
    "model.schedule",
    "model.descriptor",
    "model.memory.retrieval",
    "model.camera.trajectory",
    "model.camera.projection",
    "model.camera.fov",
    "model.camera.presets",
    "model.camera.multicam",
    "model.camera.camera_file",
    "model.camera.nerf",
    "model.camera.colmap",
    "model.camera.sentence",
    "model.camera.written",
    "model.camera.plot",
)


def imports_of(path: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def loaded_after(statement: str, *modules: str) -> list[str]:
    """Which of `modules` a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*[m for m in {modules!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_layer_knows_only_its_own_libraries(path: Path) -> None:
    layer, imported = path.relative_to(ROOT).parts[0], imports_of(path)
    forbidden = {
        "model": {"ray", "prefect", "lancedb", "lance"},
        "storage": {"ray", "prefect", "torch", "diffusers", "transformers"},
        "tasks": {"torch", "diffusers", "transformers"},
        "flows": {"torch", "diffusers", "transformers", "ray", "lancedb"},
    }[layer]
    assert not imported & forbidden


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_or_evaluates(path: Path) -> None:
    tree = ast.parse(path.read_text())
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    keywords = {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}
    assert not imports_of(path) & {"pickle", "cloudpickle", "marshal"}
    assert not calls & {"eval", "exec", "yaml.load", "torch.jit.load", "os.system"}
    assert not keywords & {"shell", "allow_pickle", "trust_remote_code"}


def test_only_one_file_makes_ray_actors() -> None:
    makers = [path.name for path in SOURCES if "@ray.remote" in path.read_text()]
    assert makers == ["actors.py"]


def test_numpy_half_loads_no_torch() -> None:
    assert loaded_after("import " + ", ".join(NUMPY_HALF), "torch", "ray", "prefect", "lancedb") == []


def test_help_loads_nothing_heavy() -> None:
    statement = "import flows.cli"
    assert loaded_after(statement, "torch", "ray", "prefect", "lancedb", "diffusers", "numpy", "av") == []


def test_import_contracts_hold() -> None:
    run = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
