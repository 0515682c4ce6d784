"""How a segment was made, besides what its row and its turn say: the note of its entry in the ledger."""

import json
from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError

from model.config.base import first_mistake
from model.errors import StoreError
from model.types import Merge
from storage.ledger import Entry


class _Note(BaseModel, strict=True):
    """The note as JSON; a merge is its memory, block and frames."""

    tile: int | None = None
    merges: tuple[tuple[int, int, tuple[int, ...]], ...] | None = None
    attempt: int = Field(default=0, ge=0)
    kept: bool = False


@dataclass(frozen=True)
class Making:
    """`tile` is the pixels of the tiles it was encoded and decoded in, None if whole; `merges` None if nobody told.

    `attempt` is how often the segment had been edited before; none but the first is `kept` until it was judged
    (`storage/attempts.py`).
    """

    tile: int | None = None
    merges: tuple[Merge, ...] | None = None
    attempt: int = 0
    kept: bool = False

    @property
    def note(self) -> str:
        """As JSON; what is not known is not in it."""
        known = {} if self.merges is None else {"merges": [[one.memory, one.block, one.frames] for one in self.merges]}
        again = {"attempt": self.attempt, "kept": self.kept} if self.attempt else {}
        return json.dumps(({"tile": self.tile} if self.tile else {}) | known | again)

    @classmethod
    def read(cls, entry: Entry) -> "Making":
        """The inverse; also of notes from before merges were kept.

        Raises:
            StoreError: the note is damaged.
        """
        try:
            note = _Note.model_validate_json(entry.note)
        except ValidationError as fault:
            where, _ = first_mistake(fault)
            raise StoreError(
                f"segment {entry.id}: the ledger's note of it is damaged ({where}); delete its turn"
            ) from None
        merges = None if note.merges is None else tuple(Merge(*one) for one in note.merges)
        return cls(note.tile, merges, note.attempt, note.kept)
