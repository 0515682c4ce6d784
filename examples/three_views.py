"""Render a video along three camera moves, turn after turn, each consistent with what earlier turns invented.

    python examples/three_views.py MODEL_FOLDER frames.npy OUT_FOLDER

Frames are uint8 `[frame, height, width, 3]`, 4k+1 of them: one window. OUT_FOLDER must not exist. Every turn recalls
the earlier views that saw most of what it will see.
"""

import sys
from pathlib import Path

import numpy as np

from model.camera.fov import cover, video_fov
from model.camera.plot import plot_trajectory
from model.camera.presets import preset
from model.camera.projection import Intrinsics
from model.config import EditConfig, Preset
from model.editor import MemoryEditor
from model.types import ViewMemory

MOVES = ("pan-right", "tilt-up", "arc-left")
RECALLED = 5


def render_views(editor: MemoryEditor, frames: np.ndarray, config: EditConfig) -> dict[str, np.ndarray]:
    """The video along each of the moves, float32 in [0, 1]. All moves start at the video's first camera."""
    lens = Intrinsics.from_lens(frames.shape[2], frames.shape[1])
    memories: list[ViewMemory] = []
    seen: list[np.ndarray] = []
    views: dict[str, np.ndarray] = {}
    for turn, name in enumerate(MOVES):
        path = preset(name, len(frames))
        target = video_fov(path, lens)
        best = cover(target, np.stack(seen), RECALLED) if seen else []
        recalled = [memories[index] for index in best]
        view = editor.edit(frames.astype(np.float32) / 255, "", recalled, turn, config, trajectory=path)
        views[name] = view.frames
        memories.append(ViewMemory(name, view.edited, path))
        seen.append(target.packed)
    return views


def main(folder: str, source: str, out: str) -> None:
    settings = Path(folder) / "memory_v2v.json"
    config = Preset.model_validate_json(settings.read_text()).edit if settings.exists() else EditConfig()
    frames = np.load(source)
    Path(out).mkdir(parents=True)
    for name, view in render_views(MemoryEditor.from_pretrained(folder), frames, config).items():
        np.save(Path(out) / f"{name}.npy", np.rint(view * 255).astype(np.uint8))
        (Path(out) / f"{name}.svg").write_text(plot_trajectory(preset(name, len(frames))))


if __name__ == "__main__":
    main(*sys.argv[1:])
