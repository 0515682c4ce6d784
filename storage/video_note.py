"""What is noted of an edited video in its entry in the ledger: what a report, a later turn and a delivery must know."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.config import WindowConfig
from model.config.base import first_mistake
from model.errors import StoreError
from storage.footage import Footage
from storage.ledger import Entry


class VideoNote(BaseModel):
    """How many frames, shots and segments the video has, and how it was made.

    `redone` are the ids of segments that are not the first attempt, by segment (`storage/attempts.py`). Where frames
    were not only enlarged, `kept` is the share of the picture that is the source's own, and `unexplained`, by segment,
    how much of the edit is no change of the source's colours. Notes of old say less.
    """

    model_config = ConfigDict(frozen=True)

    frames: int = Field(ge=1)
    shots: int = Field(ge=1)
    segments: int = Field(ge=1)
    window: WindowConfig
    source: Footage | None = None
    settings: Mapping[str, str] = {}
    conversions: tuple[str, ...] = ("What was changed on the way was not noted.",)
    kept: float | None = None
    unexplained: tuple[float, ...] = ()
    redone: Mapping[str, str] = {}


def read_video_note(entry: Entry) -> VideoNote:
    """The note of a video's entry.

    Raises:
        StoreError: it is damaged.
    """
    try:
        return VideoNote.model_validate_json(entry.note)
    except ValidationError as fault:
        where, _ = first_mistake(fault)
        raise StoreError(f"{entry.path}: the ledger's note of it is damaged ({where}); restore the folder") from None
