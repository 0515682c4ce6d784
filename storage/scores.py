"""Scores and flags of a finished video's segments: a small file beside its review page, `<stem>_scores.json`.

Whoever judges an edit writes it, whoever shows or hands it over reads it. Knows nothing of how scores come about.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from model.config.base import Config, first_mistake
from model.errors import RequestError
from storage.durable import write_whole
from storage.foreign_text import TextError, parse_json, read_text

WORD = r"^[a-z][a-z0-9_-]{0,31}$"
"""Names of scores and flags: plain enough for every edit list."""
Word = Annotated[str, Field(pattern=WORD)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class SegmentScores(Config):
    """What was measured of one segment; `flags` are what a person should look at."""

    index: int = Field(ge=0, strict=True)
    scores: Mapping[Word, Number] = {}
    flags: tuple[Word, ...] = ()


class Scores(Config):
    """The segments that were judged, each once; others were not."""

    segments: tuple[SegmentScores, ...]

    @field_validator("segments")
    @classmethod
    def _each_once(cls, segments: tuple[SegmentScores, ...]) -> tuple[SegmentScores, ...]:
        if len({one.index for one in segments}) != len(segments):
            raise ValueError("a segment is named twice")
        return segments

    def of(self, index: int) -> SegmentScores:
        """Those of one segment; empty where it was not judged."""
        return next((one for one in self.segments if one.index == index), SegmentScores(index=index))


def scores_path(video: Path) -> Path:
    """Where the scores of a finished video lie."""
    return video.with_name(f"{video.stem}_scores.json")


def write_scores(video: Path, segments: Sequence[SegmentScores]) -> Path:
    """Write the scores of a finished video, whole or not at all; returns where."""
    return write_whole(scores_path(video), Scores(segments=tuple(segments)).model_dump_json())


def read_scores(video: Path) -> Scores:
    """The scores of a finished video; none where there is no such file.

    Raises:
        RequestError: the file is not what `write_scores` writes.
    """
    path = scores_path(video)
    if not path.exists():
        return Scores(segments=())
    try:
        return Scores.model_validate(parse_json(read_text(path)))
    except TextError as fault:
        raise RequestError(f"{path}: {fault}; write it again, or delete it") from None
    except ValidationError as fault:
        where, what = first_mistake(fault)
        raise RequestError(f"{path}: {where}: {what}; write it again, or delete it") from None


def count_flagged(video: Path) -> int | None:
    """Segments of a finished video that a person should look at; None where none was judged.

    Raises:
        RequestError: the file is not what `write_scores` writes.
    """
    return sum(bool(one.flags) for one in read_scores(video).segments) if scores_path(video).exists() else None
