"""Finished videos of an output folder, with all that the folder remembers of how they were made. Reads only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model.errors import MemoryV2VError, RequestError, StoreError
from model.stitching import share_frames
from model.types import Segment, Span
from storage.attempts import is_shown
from storage.kinds import remembered
from storage.ledger import Entry, Ledger, TurnRow
from storage.remembered import Remembered
from storage.sessions import require_memory, require_session
from storage.store import MEMORY
from storage.video_note import VideoNote, read_video_note
from storage.video_states import STATE, VideoState, VideoStates


@dataclass(frozen=True)
class Wanted:
    """Which finished video is meant: by its file's name, or by its turn; the newest of those that fit."""

    video: str | None = None
    session: str | None = None
    turn: int | None = None

    def fits(self, row: TurnRow, entry: Entry) -> bool:
        by_name = self.video is None or self.video in (entry.path, Path(entry.path).stem)
        return by_name and self.session in (None, row.session) and self.turn in (None, row.number)


@dataclass(frozen=True)
class Finished:
    """A finished video: its folder, its turn, and its entry in the ledger."""

    folder: Path
    turn: TurnRow
    entry: Entry

    @property
    def path(self) -> Path:
        return self.folder / self.entry.path

    @cached_property
    def noted(self) -> VideoNote:
        """What was noted of it when it was written.

        Raises:
            StoreError: it is not what `tasks/stitch.py` notes.
        """
        return read_video_note(self.entry)

    @cached_property
    def segments(self) -> tuple[Remembered, ...]:
        """The memories that it was made of, in order.

        Raises:
            StoreError: some are missing.
        """
        rows = remembered(self.folder / MEMORY, [self.turn.key])
        entries = Ledger(self.folder / MEMORY).find([row.id for row in rows])
        shown = {id for id, entry in entries.items() if is_shown(entry, self.noted.redone)}
        made = {row.segment: row for row in rows if row.id in shown}
        count = self.noted.segments
        if missing := [index for index in range(count) if index not in made]:
            raise StoreError(f"{self.path}: the memory of segment {missing[0]} is missing; run its command again")
        return tuple(made[index] for index in range(count))

    @cached_property
    def places(self) -> dict[str, tuple[int, int]]:
        """Turn and segment of every memory in the folder, by id."""
        return {row.id: (row.turn, row.segment) for row in remembered(self.folder / MEMORY)}

    @property
    def clips(self) -> tuple[Span, ...]:
        """The frames that are each segment's own: up to the middle of each cross-fade, none left out."""
        segments = [
            Segment(row.segment, row.shot, Span(row.start, row.stop), row.stop - row.start) for row in self.segments
        ]
        shares = share_frames(segments, self.noted.window.overlap)
        return tuple(Span((one.start + one.full) // 2, (one.fade + one.stop) // 2) for one in shares)

    @property
    def shots(self) -> tuple[Span, ...]:
        """The frames between two cuts."""
        numbers = sorted({row.shot for row in self.segments})
        spans = [[(row.start, row.stop) for row in self.segments if row.shot == number] for number in numbers]
        return tuple(Span(min(start for start, _ in shot), max(stop for _, stop in shot)) for shot in spans)


def is_catalog(folder: Path) -> bool:
    """Whether it is the folder of a catalog's results, which holds one output folder a video."""
    return (folder / STATE).is_dir()


def find_finished_video(folder: Path, wanted: Wanted) -> Finished:
    """The newest finished video of an output folder, of those that are wanted.

    Raises:
        RequestError: it is no output folder, there is no such turn, or nothing that is wanted is finished.
    """
    require_memory(folder)
    if wanted.session is not None:
        require_session(folder, wanted.session, wanted.turn)
    ledger = Ledger(folder / MEMORY)
    turns, entries = ledger.turns(), ledger.entries(kind="video")
    if wanted.turn is not None and wanted.session is None and len({turn.session for turn in turns}) > 1:
        raise RequestError(f"--turn {wanted.turn}: {folder} has several sessions; say which with --session NAME")
    found = [one for one in _pairs(folder, turns, entries) if wanted.fits(one.turn, one.entry)]
    if not found:
        raise RequestError(f"{folder}: {_nothing(wanted, entries)}")
    return max(found, key=lambda one: one.entry.recorded)


def find_catalog_videos(folder: Path) -> Iterator[tuple[str, Finished | MemoryV2VError]]:
    """The result of each video of a catalog by the video's id, or why there is none; skipped ones are passed over."""
    for id, state in sorted(VideoStates(folder / STATE).read().items()):
        if state.state == "done":
            yield id, _result(folder, state)
        elif state.state != "skipped":
            yield id, RequestError(f"{id}: is not finished ({state.error or state.state}); run the catalog again")


def find_result(folder: Path, state: VideoState) -> Path | None:
    """The result of a video of a catalog, also where the folder was moved, or the result went to a bucket as well."""
    told = Path(state.output)
    known = [folder / state.folder / told.name] if state.folder else []
    moved = [folder.joinpath(*told.parts[-length:]) for length in range(2, len(told.parts))]
    ways = [*known, *moved, folder / state.id / told.name, told]
    return next((path for path in ways if path.is_file()), None)


def _result(folder: Path, state: VideoState) -> Finished | MemoryV2VError:
    """Of a video that is done, also where the catalog's folder was moved since."""
    path = find_result(folder, state)
    if path is None:
        return RequestError(f"{state.id}: its result {state.output} is not in {folder}; run the catalog again")
    try:
        return find_finished_video(path.parent, Wanted(video=path.name))
    except MemoryV2VError as fault:
        return fault


def _pairs(folder: Path, turns: Sequence[TurnRow], entries: Sequence[Entry]) -> Iterator[Finished]:
    """Turns with what they made, oldest first; of sessions that share a turn, the one where it was made comes first."""
    ordered = sorted(turns, key=lambda turn: turn.session != turn.branch)
    for entry in entries:
        yield from (Finished(folder, turn, entry) for turn in ordered if turn.key == entry.key)


def _nothing(wanted: Wanted, entries: Sequence[Entry]) -> str:
    if wanted.turn is not None:
        return f"turn {wanted.turn} is not finished; run its command again"
    if wanted.video is None or not entries:
        return "nothing in it is finished; run the command of the edit again"
    there = ", ".join(entry.path for entry in entries[-8:])
    return f"no finished video {wanted.video}; there are {there}"
