"""One block of the transformer: Wan's, told where its tokens come from.

It is always called through `forward`, so that offloading, compilation and checkpointing applied from outside reach it.
Legend: B batch, L tokens, D width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor, nn

from model.camera.encoder import CameraEncoder
from model.memory.attention import EVERYWHERE, KeyValue, Visibility, attend, keys, queries, read, text_keys
from model.memory.modulation import Modulation

Answer = Literal["hidden", "hidden and keys", "queries and keys", "text keys"]


@dataclass(frozen=True)
class Surroundings:
    """What a block is told besides its hidden states, and what it is asked for.

    "hidden" is the block's output; "hidden and keys" adds the keys and values of self-attention, to be cached;
    "queries and keys" are those of the target and of all else, for scoring, and nothing is computed beyond them;
    "text keys" are the keys and values of the text, `[B, words, N, H]`, which may be given to later calls in its place.
    """

    target_length: int
    live_length: int
    visible: Visibility = EVERYWHERE
    memory_text: Tensor | None = None
    cameras: Tensor | None = None
    past: KeyValue | None = None
    answer: Answer = "hidden"


class MemoryBlock(WanTransformerBlock):
    """A Wan block that can be given surroundings; without any it is the base block.

    With `cameras` it has ReCamMaster's two modules: `camera`, added to the modulated input of self-attention, and
    `projector` behind it. They start as zero and as the identity.
    """

    def __init__(self, *arguments: Any, cameras: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if cameras:
            width = self.scale_shift_table.shape[-1]
            self.camera, self.projector = CameraEncoder(width), nn.Linear(width, width)
            self.start_cameras()

    @property
    def camera_modules(self) -> tuple[nn.Module, ...]:
        """Both of them, or none."""
        return (self.camera, self.projector) if hasattr(self, "projector") else ()

    def start_cameras(self) -> None:
        """Start the camera modules, where it has them, as if there were none."""
        if hasattr(self, "projector"):
            for parameter in (self.camera.weight, self.camera.bias, self.projector.bias):
                nn.init.zeros_(parameter)
            nn.init.eye_(self.projector.weight)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | KeyValue,
        temb: Tensor | Modulation | None,
        rotary_emb: Any,
        around: Surroundings | None = None,
    ) -> Any:
        """The block's output `[B, L, D]`, or what `around` asks for."""
        if around is None:
            return super().forward(hidden_states, encoder_hidden_states, temb, rotary_emb)  # type: ignore[arg-type]
        if around.answer == "text keys":
            assert isinstance(encoder_hidden_states, Tensor)
            return text_keys(self.attn2, encoder_hidden_states)
        assert isinstance(temb, Modulation)
        if around.answer == "queries and keys":
            return self._queries_and_keys(hidden_states, temb, rotary_emb, around)
        hidden, kept = self._attend(hidden_states, encoder_hidden_states, temb, rotary_emb, around)
        return (hidden, kept) if around.answer == "hidden and keys" else hidden

    def _attend(
        self,
        hidden: Tensor,
        text: Tensor | KeyValue,
        times: Modulation,
        rotary: tuple[Tensor, Tensor],
        around: Surroundings,
    ) -> tuple[Tensor, KeyValue]:
        shift, scale, gate, ff_shift, ff_scale, ff_gate = times.added_to(self.scale_shift_table)
        by_token = times.by_token
        entering = self._enter(hidden, by_token(shift), by_token(scale), around.cameras)
        mixed, kept = attend(self.attn1, entering, rotary, around.visible, around.past)
        if hasattr(self, "projector"):
            mixed = self.projector(mixed)
        hidden = (hidden.float() + mixed * by_token(gate)).type_as(hidden)
        hidden = hidden + self._read(self.norm2(hidden.float()).type_as(hidden), text, around)
        entering = (self.norm3(hidden.float()) * (1 + by_token(ff_scale)) + by_token(ff_shift)).type_as(hidden)
        return (hidden.float() + self.ffn(entering).float() * by_token(ff_gate)).type_as(hidden), kept

    def _queries_and_keys(
        self, hidden: Tensor, times: Modulation, rotary: tuple[Tensor, Tensor], around: Surroundings
    ) -> tuple[Tensor, Tensor]:
        """Queries of the target and keys of all else as self-attention sees them, heads side by side, `[B, L, D]`."""
        shift, scale, *_ = times.added_to(self.scale_shift_table)
        entering = self._enter(hidden, times.by_token(shift), times.by_token(scale), around.cameras)
        here, behind = slice(around.target_length), slice(around.target_length, None)
        query = queries(self.attn1, entering[:, here], (rotary[0][:, here], rotary[1][:, here]))
        key = keys(self.attn1, entering[:, behind], (rotary[0][:, behind], rotary[1][:, behind]))
        return query.flatten(2), key.flatten(2)

    def _enter(self, hidden: Tensor, shift: Tensor, scale: Tensor, cameras: Tensor | None) -> Tensor:
        entering = (self.norm1(hidden.float()) * (1 + scale) + shift).type_as(hidden)
        return entering if cameras is None else entering + self.camera(cameras.type_as(hidden))

    def _read(self, hidden: Tensor, text: Tensor | KeyValue, around: Surroundings) -> Tensor:
        """Cross-attention; cached memory always reads its one fixed text."""
        live = around.live_length
        if around.memory_text is None or live == hidden.shape[1]:
            return self._read_one(hidden, text)
        fixed = around.memory_text.expand(hidden.shape[0], -1, -1)
        remembered = self._read_one(hidden[:, live:], fixed)
        return remembered if live == 0 else torch.cat([self._read_one(hidden[:, :live], text), remembered], dim=1)

    def _read_one(self, hidden: Tensor, text: Tensor | KeyValue) -> Tensor:
        return read(self.attn2, hidden, text_keys(self.attn2, text) if isinstance(text, Tensor) else text)
