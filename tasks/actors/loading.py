"""A model as an actor loads it: the only way from `tasks/` to torch is inside an actor."""

from typing import TYPE_CHECKING

from model.config import PLAIN, Precision, SpeedConfig

if TYPE_CHECKING:
    from model.editor import MemoryEditor


def load_editor(weights: str, dtype: Precision, device: str, speed: SpeedConfig = PLAIN) -> "MemoryEditor":
    from model.editor import MemoryEditor

    return MemoryEditor.from_pretrained(weights, dtype=dtype, device=device, speed=speed)
