"""Edit a long array of frames with a memory: the library alone, without Prefect, Ray or LanceDB.

    python examples/without_orchestration.py MODEL_FOLDER frames.npy "make the hat red" edited.npy

Frames are uint8 `[frame, height, width, 3]` of one shot, in a size that the model takes.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.config import Preset
from model.descriptor import ThumbnailDescriptor
from model.editor import MemoryEditor
from model.memory.retrieval import Candidate, choose, rank_by_descriptor
from model.segments import plan_segments
from model.stitching import stitch
from model.types import Memory, Shot, Span


def edit_long(editor: MemoryEditor, frames: np.ndarray, instruction: str, settings: Preset) -> np.ndarray:
    """Every frame edited, float32 in [0, 1]: segment by segment, each remembering the ones before."""
    segments = plan_segments([Shot(0, Span(0, len(frames)))], settings.window.frames, settings.window.overlap)
    memories: dict[str, tuple[Memory, np.ndarray]] = {}
    edited: list[np.ndarray] = []
    for segment in segments:
        own = frames[segment.span.start : segment.span.stop]
        source = np.concatenate([own, own[-1:].repeat(segment.padding, axis=0)])
        described = ThumbnailDescriptor().describe(source)
        scored = {id: rank_by_descriptor(described, other[None])[0] for id, (_, other) in memories.items()}
        candidates = [Candidate(id, float(score), memories[id][1]) for id, score in scored.items()]
        recalled = choose(candidates, settings.retrieval.top_k, previous=max(memories, key=int, default=None))
        given = [replace(memories[each.id][0], is_previous=each.reason == "previous") for each in recalled]
        result = editor.edit(source.astype(np.float32) / 255, instruction, given, segment.index, settings.edit)
        memories[str(segment.index)] = Memory(str(segment.index), result.edited, result.source), described
        edited.append(result.frames)
    return np.stack(list(stitch(segments, lambda segment: iter(edited[segment.index]), settings.window.overlap)))


def main(folder: str, source: str, instruction: str, out: str) -> None:
    preset = Path(folder) / "memory_v2v.json"
    settings = Preset.model_validate_json(preset.read_text()) if preset.exists() else Preset(name="as in the paper")
    frames = edit_long(MemoryEditor.from_pretrained(folder), np.load(source), instruction, settings)
    np.save(out, np.rint(frames * 255).astype(np.uint8))


if __name__ == "__main__":
    main(*sys.argv[1:])
