"""The paper's measurements of a loaded model by itself: Table 1, Figs. 7, 8 and 9. Torch half.

A `Scene` is what a model remembers and is then asked for; it is made by the model itself, turn after turn, so any
loaded model can be measured, with pictures of any kind. Knows no files.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int

from model.backbones.block import MemoryBlock, Surroundings
from model.camera.trajectory import Trajectory
from model.config import EditConfig, MergeConfig, TokenConfig
from model.editor import MemoryEditor
from model.memory.conditioning import Conditioning
from model.memory.merging import frame_keys, responsiveness
from model.memory.sequence import Part, split
from model.metrics.fidelity import structural_similarity
from model.metrics.measured import count_work
from model.metrics.regions import decibels
from model.metrics.stability import Responses
from model.types import EditedSegment, Memory, ViewMemory

Frames = Float32[np.ndarray, "frame height width 3"]
REPEATS = 3  # of a measurement of time
REDUCTIONS = {"merge_low": "merge", "discard_low": "discard", "merge_high": "high"}
"""Fig. 7: what is done to half of the frames still whole at each merge block: those that the target responds to least
(`low`) or most. With two blocks that is three quarters of all."""
VARIANTS = ("uniform", "dynamic", "dynamic_merging")


@dataclass(frozen=True)
class Scene:
    """A segment to be edited, and the memories that were made before it, best first."""

    source: Frames
    instruction: str
    memories: tuple[Memory, ...] | tuple[ViewMemory, ...]
    trajectory: Trajectory | None

    def edit(self, editor: MemoryEditor, config: EditConfig) -> EditedSegment:
        """The edit, always with the same noise."""
        return editor.edit(self.source, self.instruction, self.memories, 1, config, trajectory=self.trajectory)

    def with_memories(self, count: int) -> "Scene":
        """The same with so many memories; they are given again where there are fewer."""
        given = tuple(self.memories[number % len(self.memories)] for number in range(count))
        return replace(self, memories=given)


@dataclass(frozen=True, eq=False)
class PassResponses:
    """Eq. 5 in one forward pass; `videos` says of which condition video each frame is, by its place in their order."""

    scores: Responses
    videos: Int[np.ndarray, " frame"]


def scene_of_segments(editor: MemoryEditor, segments: Sequence[Frames], instruction: str, config: EditConfig) -> Scene:
    """A long edit: all segments but the last are edited in turn and remembered, the latest first."""
    memories: list[Memory] = []
    for number, source in enumerate(segments[:-1]):
        done = editor.edit(source, instruction, memories, number, config)
        older = [replace(memory, is_previous=False) for memory in memories]
        memories = [Memory(str(number), done.edited, done.source, is_previous=True), *older]
    return Scene(segments[-1], instruction, tuple(memories), None)


def scene_of_views(editor: MemoryEditor, source: Frames, cameras: Sequence[Trajectory], config: EditConfig) -> Scene:
    """Novel views: the video is rendered along all cameras but the last, in turn; the latest is the first memory."""
    memories: list[ViewMemory] = []
    for number, camera in enumerate(cameras[:-1]):
        done = editor.edit(source, "", memories, number, config, trajectory=camera)
        memories = [ViewMemory(str(number), done.edited, camera), *memories]
    return Scene(source, "", tuple(memories), cameras[-1])


def measure_responses(editor: MemoryEditor, scene: Scene, config: EditConfig) -> list[PassResponses]:
    """Responsiveness of all condition frames in all blocks, with nothing merged, at every denoising step."""
    sampling = config.sampling.model_copy(update={"guidance": 1.0, "first_guidance": 1.0, "first_drafts": 1})
    whole = config.model_copy(update={"sampling": sampling, "merging": MergeConfig(mode="off"), "attention": "joint"})
    with _listening(editor.backbone.transformer) as passes:
        scene.edit(editor, whole)
    return [PassResponses(np.stack(heard.scores), heard.videos) for heard in passes]


def compare_reductions(editor: MemoryEditor, scene: Scene, config: EditConfig) -> dict[str, dict[str, float]]:
    """Fig. 7 in numbers: how near the edit stays to the one with all tokens, when `REDUCTIONS` are made.

    By reduction `psnr` in dB and `ssim`; higher is nearer. Needs a scene with memories.
    """
    whole = scene.edit(editor, config.model_copy(update={"merging": MergeConfig(mode="off")})).frames
    found: dict[str, dict[str, float]] = {}
    for name, mode in REDUCTIONS.items():
        merging = MergeConfig.model_validate({"mode": mode, "fraction": 0.5, "blocks": config.merging.blocks})
        frames = scene.edit(editor, config.model_copy(update={"merging": merging})).frames
        pairs = zip(_levels(whole), _levels(frames), strict=True)
        similarity = float(np.mean([structural_similarity(one, other) for one, other in pairs]))
        error = float(np.square(whole - frames, dtype=np.float64).mean())
        found[name] = {"psnr": decibels(error), "ssim": similarity}
    return found


def measure_costs(
    editor: MemoryEditor, scene: Scene, config: EditConfig, counts: Sequence[int]
) -> dict[str, dict[int, dict[str, float]]]:
    """Fig. 9: `gigaflops` and `seconds` of the denoising of one segment, by variant and number of memories.

    `uniform` gives every memory the base's own tokens, `dynamic` fewer by relevance; merging as configured. Seconds
    are the least of three on this machine, as busy as it is. Guidance and drafts are as with memories everywhere.
    """
    return {
        variant: {count: _cost(editor, scene.with_memories(count), _variant(config, variant)) for count in counts}
        for variant in VARIANTS
    }


def _variant(config: EditConfig, variant: str) -> EditConfig:
    merging = config.merging if variant == "dynamic_merging" else MergeConfig(mode="off")
    tokens = TokenConfig.uniform(2) if variant == "uniform" else config.tokens
    sampling = config.sampling.model_copy(update={"first_guidance": None, "first_drafts": 1})
    return config.model_copy(update={"merging": merging, "tokens": tokens, "sampling": sampling})


def _cost(editor: MemoryEditor, scene: Scene, config: EditConfig) -> dict[str, float]:
    with count_work() as counter:
        scene.edit(editor, config)
    times = [scene.edit(editor, config).seconds["denoise"] for _ in range(REPEATS)]
    return {"gigaflops": counter.get_total_flops() / 1e9, "seconds": min(times)}


def _levels(frames: Frames) -> np.ndarray:
    return np.rint(255 * frames).astype(np.uint8)


class _Heard:
    """One forward pass as it goes: its conditions, and the scores of the blocks so far."""

    def __init__(self, parts: list[Part], range_frames: int) -> None:
        self.parts = parts
        self.videos = torch.cat([part.frames[0] for part in parts]).cpu().numpy() // range_frames
        self.scores: list[np.ndarray] = []

    def add(self, block: MemoryBlock, arguments: tuple[Any, ...]) -> None:
        *inputs, around = arguments
        query, key = block(*inputs, replace(around, answer="queries and keys"))
        _, parts = split(key, 0, self.parts)
        frame_key = torch.cat([frame_keys(part.tokens.flatten(1, 3), part) for part in parts], dim=1)
        self.scores.append(responsiveness(query, frame_key)[0].cpu().numpy())


@contextmanager
def _listening(transformer: Any) -> Iterator[list[_Heard]]:
    """Hear every block of every forward pass with conditions; nothing that is computed changes."""
    passes: list[_Heard] = []

    def begin(module: Any, _: Any, named: Mapping[str, Any]) -> None:
        asked = named["attention_kwargs"]
        given: Conditioning | None = asked["conditioning"]
        if given is not None and "prepare_for" not in asked:
            length = given.range_length(named["hidden_states"].shape[2])
            passes.append(_Heard(module.tokenize(given.videos, length), length))

    def hear(block: Any, arguments: tuple[Any, ...]) -> None:
        around = arguments[-1]
        if isinstance(around, Surroundings) and around.answer.startswith("hidden"):
            passes[-1].add(block, arguments)

    with ExitStack() as stack:
        stack.enter_context(_hooked(transformer.register_forward_pre_hook(begin, with_kwargs=True)))
        for block in transformer.blocks:
            stack.enter_context(_hooked(block.register_forward_pre_hook(hear)))
        yield passes


@contextmanager
def _hooked(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
