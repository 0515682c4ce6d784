"""How a segment was made, besides what its row and its turn say: the note of its entry in the ledger."""

import json
from dataclasses import dataclass

from model.types import Merge


@dataclass(frozen=True)
class Making:
    """`tile` is the pixels of the tiles it was encoded and decoded in, None if whole; `merges` None if nobody told.

    `attempt` is how often the segment had been edited before; none but the first is kept until it was judged
    (`storage/attempts.py`).
    """

    tile: int | None = None
    merges: tuple[Merge, ...] | None = None
    attempt: int = 0

    @property
    def note(self) -> str:
        """As JSON; what is not known is not in it."""
        known = {} if self.merges is None else {"merges": [[one.memory, one.block, one.frames] for one in self.merges]}
        again = {"attempt": self.attempt, "kept": False} if self.attempt else {}
        return json.dumps(({"tile": self.tile} if self.tile else {}) | known | again)

    @classmethod
    def read(cls, note: str) -> "Making":
        """The inverse; also of notes from before merges were kept."""
        known = json.loads(note)
        merges = known.get("merges")
        if merges is not None:
            merges = tuple(Merge(memory, block, tuple(frames)) for memory, block, frames in merges)
        return cls(known.get("tile"), merges, known.get("attempt", 0))
