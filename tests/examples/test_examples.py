"""The examples run on toy models, as a user runs them, and load nothing of the orchestration."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from model.backbones.tiny import build_tiny_lucy_edit, build_tiny_recam
from model.config import Preset, RetrievalConfig
from model.editor import MemoryEditor
from model.segments import plan_segments
from model.types import Shot, Span

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import runpy, sys
script, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
print(*[name for name in ("ray", "prefect", "lancedb") if name in sys.modules])
"""


def run(script: str, *arguments: object) -> list[str]:
    """Run an example in a fresh interpreter; returns what it loaded of Ray, Prefect and LanceDB."""
    command = [sys.executable, "-c", RUN, ROOT / "examples" / script, *arguments]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def frames() -> np.ndarray:
    """40 frames of a colour that drifts: three windows of 17."""
    tint = np.linspace(40, 220, 40, dtype=np.float32)[:, None, None, None]
    noise = np.random.default_rng(0).integers(0, 30, size=(40, 64, 96, 3))
    return (tint + noise).clip(0, 255).astype(np.uint8)


def test_a_clip_that_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "cityCC0.mpg").write_bytes(b"a film")
    assert run("fetch_clip.py", tmp_path) == [str(tmp_path / "cityCC0.mpg")]
    assert (tmp_path / "cityCC0.mpg").read_bytes() == b"a film"


def test_a_long_edit_needs_no_orchestration(tmp_path: Path, frames: np.ndarray) -> None:
    model = build_tiny_lucy_edit(tmp_path / "model")
    np.save(tmp_path / "frames.npy", frames)
    arguments = (model, tmp_path / "frames.npy", "make it night")
    assert run("without_orchestration.py", *arguments, tmp_path / "edited.npy") == []
    edited = np.load(tmp_path / "edited.npy")
    assert edited.shape == frames.shape
    assert edited.dtype == np.uint8
    assert (edited != frames).mean() > 0.5


def test_later_segments_remember_earlier_ones(tmp_path: Path, frames: np.ndarray) -> None:
    folder = build_tiny_lucy_edit(tmp_path / "model")
    settings = Preset.model_validate_json((folder / "memory_v2v.json").read_text())
    editor = MemoryEditor.from_pretrained(folder)
    edit_long = runpy.run_path(str(ROOT / "examples" / "without_orchestration.py"))["edit_long"]
    alone = settings.model_copy(update={"retrieval": RetrievalConfig(top_k=0)})
    remembered, forgotten = (edit_long(editor, frames, "make it night", each) for each in (settings, alone))
    second = plan_segments([Shot(0, Span(0, 40))], settings.window.frames, settings.window.overlap)[1].span.start
    assert_array_equal(remembered[:second], forgotten[:second])
    assert all((one != other).any() for one, other in zip(remembered[17:], forgotten[17:], strict=True))


def test_three_views_remember_one_another(tmp_path: Path, frames: np.ndarray) -> None:
    model = build_tiny_recam(tmp_path / "model")
    np.save(tmp_path / "frames.npy", frames[:9])
    assert run("three_views.py", model, tmp_path / "frames.npy", tmp_path / "views") == []
    views = [np.load(path) for path in sorted((tmp_path / "views").glob("*.npy"))]
    assert len(views) == 3
    assert all(view.shape == (9, 64, 96, 3) for view in views)
    assert not np.array_equal(views[0], views[1])
    assert len(list((tmp_path / "views").glob("*.svg"))) == 3
