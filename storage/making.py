"""How a segment was made, besides what its row and its turn say: the note of its entry in the ledger."""

import json
from dataclasses import dataclass

from model.types import Merge


@dataclass(frozen=True)
class Making:
    """`tile` is the pixels of the tiles it was encoded and decoded in, None if whole; `merges` None if nobody told."""

    tile: int | None = None
    merges: tuple[Merge, ...] | None = None

    @property
    def note(self) -> str:
        """As JSON; what is not known is not in it."""
        known = {} if self.merges is None else {"merges": [[one.memory, one.block, one.frames] for one in self.merges]}
        return json.dumps(({"tile": self.tile} if self.tile else {}) | known)

    @classmethod
    def read(cls, note: str) -> "Making":
        """The inverse; also of notes from before merges were kept."""
        known = json.loads(note)
        merges = known.get("merges")
        if merges is not None:
            merges = tuple(Merge(memory, block, tuple(frames)) for memory, block, frames in merges)
        return cls(known.get("tile"), merges)
