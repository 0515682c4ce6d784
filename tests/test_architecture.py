"""The house rules that a machine can check."""

import ast
import re
import subprocess
import sys
from functools import cache
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
    "model.transfer",
    "model.region",
    "model.schedule",
    "model.descriptor",
    "model.memory.retrieval",
    "model.metrics.gate",
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


def imports_of(code: str) -> set[str]:
    """Top-level packages that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(code)):
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
    layer, imported = path.relative_to(ROOT).parts[0], imports_of(path.read_text())
    forbidden = {
        "model": {"ray", "prefect", "lancedb", "lance"},
        "storage": {"ray", "prefect", "torch", "diffusers", "transformers"},
        "tasks": {"torch", "diffusers", "transformers"},
        "flows": {"torch", "diffusers", "transformers", "ray", "lancedb"},
    }[layer]
    assert not imported & forbidden


@pytest.mark.parametrize("package", ["storage", "tasks"])
def test_the_map_of_a_package_names_every_module(package: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    inside = [path for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    assert {path.stem for path in inside} - {"__init__"} <= set(re.findall(r"[a-z_]+", text))


FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "marshal", "shelve", "dill", "joblib", "xml"}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"),
    *("torch.jit.load", "torch.export.load", "torch.hub.load"),
    *("shutil.unpack_archive", "tempfile.mktemp", "Markup", "cv2.VideoCapture", "ffmpeg.run", "ffmpeg.run_async"),
}
FORBIDDEN_METHODS = {"extractall", "extract", "run_async"}
FORBIDDEN_KEYWORDS = {"shell", "allow_pickle", "trust_remote_code", "custom_pipeline", "preexec_fn"}
FORBIDDEN_WORDS = (
    *("RAY_DATA_AUTOLOAD", "RAY_DATA_WEBDATASET_ALLOW_UNSAFE", "weights_only=False", "drawtext", "|safe"),
    *("enable_drefs", "use_absolute_path", "allow_private_urls=True"),
)
CALLED_IN = {
    "torch.load": {"model/backbones/checkpoint_file.py"},
    "subprocess.Popen": {"flows/serve.py", "storage/ffmpeg.py", "tasks/cluster.py"},
    "subprocess.run": {
        *("storage/datasets/packages.py", "storage/ffmpeg.py"),
        *("tasks/cluster.py", "tasks/doctor.py", "tasks/weights.py"),
    },
    "ffmpeg.input": {"storage/encoding.py", "storage/ffmpeg.py"},
    "ffmpeg.compile": {"storage/ffmpeg.py"},
    "find_ffmpeg": {"storage/ffmpeg.py", "tasks/doctor.py"},
    "Image.open": {"storage/picture.py"},
    "av.open": {  # the one that opens files of others, and three for files of our own making
        *("storage/source_file.py", "storage/segment_file.py", "storage/mux.py", "storage/datasets/footage.py"),
    },
    "tarfile.open": {"storage/datasets/senorita.py"},
    "zipfile.ZipFile": {"storage/archive.py", "storage/exchange.py", "storage/datasets/packages.py"},
    "yaml.safe_load": {"storage/foreign_text.py"},
    "Webhook": {"flows/automations.py"},
}
"""Where each dangerous thing is done, and nowhere else: what to read when it is asked whether it is done well."""


def faults_of(code: str) -> set[str]:
    """What in a module must not be there."""
    tree = ast.parse(code)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    methods = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
    keywords = {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}
    texts = {ast.unparse(call) for call in calls if _is_predicate_of_text(call)}
    called = {ast.unparse(call.func) for call in calls}
    words = {word for word in FORBIDDEN_WORDS if word in code}
    return (
        (imports_of(code) & FORBIDDEN_IMPORTS | called & FORBIDDEN_CALLS | methods & FORBIDDEN_METHODS)
        | keywords & FORBIDDEN_KEYWORDS
        | words
        | texts
    )


def _is_predicate_of_text(call: ast.Call) -> bool:
    """`table.where("id = ..")` and its like: predicates are built from typed values, never from text."""
    named = isinstance(call.func, ast.Attribute) and call.func.attr in ("where", "delete", "count_rows")
    return named and bool(call.args) and isinstance(call.args[0], ast.JoinedStr | ast.Constant | ast.BinOp)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_or_evaluates(path: Path) -> None:
    assert not faults_of(path.read_text())


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from cloudpickle import loads",
        "eval('1')",
        "subprocess.run('ls', shell=True)",
        "yaml.load(text)",
        "archive.extractall()",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "table.search().where(f'id = {id}')",
        "table.delete('id = 1')",
        "video.filter('drawtext', text=prompt)",
    ],
)
def test_what_must_not_be_there_would_be_found(code: str) -> None:
    """The control."""
    assert faults_of(code)


@pytest.mark.parametrize("name", CALLED_IN)
def test_each_dangerous_thing_is_done_in_its_place_only(name: str) -> None:
    where = {str(path.relative_to(ROOT)) for path in SOURCES if name in _called(path)}
    assert where == CALLED_IN[name]


@cache
def _called(path: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}


def test_templates_trust_no_text() -> None:
    templates = sorted((ROOT / "storage" / "templates").iterdir())
    assert len(templates) >= 3
    for path in templates:
        text = path.read_text()
        assert not [word for word in ("|safe", "| safe", "autoescape false", "innerHTML", "eval(") if word in text], (
            path
        )


def test_only_one_folder_makes_ray_actors() -> None:
    makers = {path.parent.relative_to(ROOT) for path in SOURCES if "@ray.remote" in path.read_text()}
    assert makers == {Path("tasks/actors")}


def test_numpy_half_loads_no_torch() -> None:
    assert loaded_after("import " + ", ".join(NUMPY_HALF), "torch", "ray", "prefect", "lancedb") == []


def test_help_loads_nothing_heavy() -> None:
    statement = "import flows.cli"
    assert loaded_after(statement, "torch", "ray", "prefect", "lancedb", "diffusers", "numpy", "av") == []


def test_serving_loads_no_prefect_before_its_server_is_named(tmp_path: Path) -> None:
    """Prefect looks for its server once, when it is loaded: the command goes as far as to the server's start."""
    assert loaded_after("import flows.serve, flows.deployments, flows.cli_serve", "prefect") == []
    command = ["serve", "--alert", "https://93.184.215.14/x", "--nightly", str(tmp_path / "catalog.jsonl")]
    (tmp_path / "catalog.jsonl").write_text('{"video_id": "a", "uri": "a.mp4", "turns": [{"prompt": "x"}]}')
    plan = "flows.serve.serve_flows = lambda plan, announce: print(plan.alert.host, 'planned')"
    started = f"import flows.cli, flows.serve\n{plan}\nflows.cli.app({command}, standalone_mode=False)"
    assert loaded_after(started, "prefect", "ray") == ["93.184.215.14", "planned"]


def test_what_copies_and_tends_loads_no_prefect() -> None:
    assert loaded_after("import tasks.terminal, flows.delivery, flows.sessions", "prefect") == []


def test_import_contracts_hold() -> None:
    run = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
