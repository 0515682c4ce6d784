"""A finished edit without a model: a real source and video, memories and ledger rows as an edit leaves them."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from model.types import Span
from storage.content_id import hash_file
from storage.finished import Finished, Wanted, find_finished_video
from storage.footage import footage_of
from storage.geometry import Box, Fit
from storage.probe import probe
from storage.store import open_store
from storage.video import read_frames, write_video
from tests.storage.memories import SIZE, commit, enter_turn, make_entry, row_of

WINDOWS = ((0, 0, 13), (0, 9, 18), (1, 18, 25), (1, 22, 30))
"""Shot, first frame, and frame behind the last, of the segments of 30 frames: a cut at 18, overlaps of 4 and 3."""


def make_finished(
    source: Path, out: Path, name: str = "film.mov", *, codec: str = "h264", turn: int = 1, noted: bool = True
) -> Finished:
    """Turn `turn` of session `film` over a clip of 30 frames: the clip itself, encoded anew."""
    info = probe(source)
    size = (info.width, info.height)
    whole = Fit(size, Box(*size, 0, 0), size)
    out.mkdir(exist_ok=True)
    frames = read_frames(info, Span(0, info.frames), whole)
    path = write_video(frames, info, whole, out / f"film_edit_v00{turn}.mp4", codec)
    note = {"frames": info.frames, "shots": 2, "segments": len(WINDOWS), "window": {"overlap": 4}}
    if noted:
        note |= {"source": footage_of(info).model_dump(mode="json"), "settings": {"model": "tiny", "seed": "7"}}
        note |= {"conversions": ["The model worked at 64x64."]}
    with open_store(out, SIZE) as store:
        enter_turn(store.ledger, "film", f"turn {turn}", asked="make it night, ♥", video=name, source=hash_file(source))
        for number, (shot, start, stop) in enumerate(WINDOWS):
            row = row_of(turn, number, (row_of(turn, number - 1).id,) if number else ())
            commit(store, replace(row, shot=shot, start=start, stop=stop, seed=2**62 + number))
        entry = make_entry(row_of(turn, 0), path.name, hash_file(path))
        store.ledger.record(
            replace(
                entry, id=f"video {turn}", kind="video", segment=-1, note=json.dumps(note), recorded=datetime.now(UTC)
            )
        )
    return find_finished_video(out, Wanted(turn=turn))
