"""A loaded editor with the instruments that the proof needs: the codec's own picture, and the work of an edit.

Knows no worlds and no methods.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from model.config import EditConfig
from model.editor import MemoryEditor
from model.types import EditedSegment, Memory


def count_work() -> FlopCounterMode:
    """Counts the operations of what runs under it. torch's own counter leaves out attention on the CPU."""
    return FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    )


class MeasuredEditor:
    """Edits as `MemoryEditor` does. Work is counted once for each kind of edit: it does not depend on the pictures."""

    def __init__(self, editor: MemoryEditor) -> None:
        self._editor = editor
        self._flops: dict[tuple, int] = {}

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "cpu") -> "MeasuredEditor":
        """Load a model folder, in float32. This process then uses one thread of the CPU: others share the cores.

        Raises:
            WeightsError: it does not load.
        """
        torch.set_num_threads(1)
        return cls(MemoryEditor.from_pretrained(folder, device=device))

    def edit(
        self,
        source: Float32[np.ndarray, "frame height width 3"],
        instruction: str,
        memories: Sequence[Memory],
        seed: int,
        config: EditConfig,
    ) -> EditedSegment:
        """One segment edited."""
        return self._editor.edit(source, instruction, memories, seed, config)

    def flops(
        self, source: Float32[np.ndarray, "frame height width 3"], memories: Sequence[Memory], config: EditConfig
    ) -> int:
        """Floating point operations of such an edit, a multiplication and an addition as two.

        Of one whose sentence is not the negative prompt, since of the two alike the editor computes one branch alone.
        Reading texts is not counted, which a turn does once for all of its segments.
        """
        kind = (source.shape, len(memories), config)
        if kind not in self._flops:
            sentence, negative = f"not {config.sampling.negative}", config.sampling.negative
            for texts in ((sentence, negative, True), (sentence, negative, False), ("", "", False)):
                self._editor.backbone.encode_text(*texts)  # is kept
            with count_work() as counter:
                self._editor.edit(source, sentence, memories, 0, config)
            self._flops[kind] = counter.get_total_flops()
        return self._flops[kind]

    @torch.no_grad()
    def reconstruct(
        self, latents: Float[np.ndarray, "channel time row column"]
    ) -> Float32[np.ndarray, "frame height width 3"]:
        """What the codec alone makes of normalised latents, in [0, 1]."""
        backbone = self._editor.backbone
        video = backbone.decode(torch.from_numpy(latents).float().to(backbone.device)[None])
        return rearrange(video / 2 + 0.5, "1 c f h w -> f h w c").clamp(0, 1).float().cpu().numpy()


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return sdpa_flop_count(query, key, value)
