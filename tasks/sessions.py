"""Sessions told: turns and segments as JSON and as text."""

from collections.abc import Mapping
from typing import Any

from storage.attempts import Attempt
from storage.remembered import Remembered
from storage.sessions import Turn

Places = Mapping[str, tuple[int, int]]
"""Turn and segment of a memory, by id."""


def turn_fields(turn: Turn, places: Places) -> dict[str, Any]:
    """A turn as JSON."""
    row = turn.row
    return {
        **{name: getattr(row, name) for name in ("number", "kind", "asked", "video", "source", "parent", "branch")},
        **{"settings": row.settings, "fingerprint": row.fingerprint, "created": row.created.isoformat()},
        "finished": bool(turn.videos),
        "outputs": [video.path for video in turn.videos],
        "segments": [_segment_fields(segment, turn, places) for segment in turn.segments],
    }


def _segment_fields(segment: Remembered, turn: Turn, places: Places) -> dict[str, Any]:
    attempt = turn.attempts.get(segment.id, Attempt())
    recalls = zip(segment.recalled, segment.scores, segment.reasons, strict=True)
    return {
        "segment": segment.segment,
        "id": segment.id,
        "attempt": attempt.number,
        "kept": attempt.kept,
        "created": segment.created.isoformat(),
        "recalled": [
            {"id": id, "turn": number, "segment": at, "score": score, "reason": reason}
            for id, score, reason in recalls
            for number, at in [places.get(id, (None, None))]
        ],
    }


def turn_text(turn: Turn, places: Places) -> str:
    """A turn as lines: what was asked, of what, what came out, and what every segment recalled."""
    row = turn.row
    of = f"the result of turn {row.parent}" if row.parent else _printable(row.video)
    shared = f", shared with {row.branch}" if row.branch != row.session else ""
    outputs = ", ".join(video.path for video in turn.videos) or "not finished"
    head = f"turn {row.number}  {row.asked!r} on {of}  {row.created:%Y-%m-%d %H:%M} UTC{shared}\n  output  {outputs}"
    return "\n".join([head, *(_segment_text(segment, turn, places) for segment in turn.segments)])


def _segment_text(segment: Remembered, turn: Turn, places: Places) -> str:
    recalls = zip(segment.recalled, segment.scores, segment.reasons, strict=True)
    said = [f"{_place(id, places)} {score:.3f} {reason}" for id, score, reason in recalls]
    attempt = turn.attempts.get(segment.id)
    which = f"attempt {attempt.number}, {'kept' if attempt.kept else 'not kept'}, " if attempt else ""
    return f"  segment {segment.segment:<3} {segment.id[:8]}  {which}recalled {', '.join(said) or 'nothing'}"


def _place(id: str, places: Places) -> str:
    """Turn and segment as `2/7`; a memory that is gone by its id."""
    return "{}/{}".format(*places[id]) if id in places else f"{id[:8]} (deleted)"


def _printable(text: str) -> str:
    """Without what a terminal would obey: names come from other people's files."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
