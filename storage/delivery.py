"""Hand a finished video over: a folder with the master, a proxy, edit lists, a sidecar, a notice and checksums.

Inputs are verified before (the master against the ledger, the source against its content id where it is at hand), what
was written is probed and compared with the source, and the whole is sealed. It appears whole or not at all.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from shutil import copyfile

from model.errors import RequestError, RunError, StoreError
from storage.checksums import seal, xxh128
from storage.content_id import hash_file
from storage.delivery_folder import Staged, staged
from storage.finished import Finished
from storage.footage import KEPT, Footage, changes, footage_of
from storage.originals import find_original
from storage.probe import probe
from storage.proxy import write_handed_proxy
from storage.scores import Scores, read_scores
from storage.sidecar import (
    FIRST_FRAME,
    Movie,
    RecalledTold,
    SegmentTold,
    Sidecar,
    SourceTold,
    TurnTold,
    sidecar_text,
)
from storage.store import plain_name
from storage.timeline import EditList, Mark, Part, limits, write_edit_lists

LONGEST_NAME = 80  # letters
NOTICE = """**{name}: REVIEW MATERIAL, NOT A FINAL.**

The pictures come from a diffusion model. It was trained on pictures of 8 bits and worked at a size of its own (see
"settings" in {name}.json); its result was scaled to {width}x{height} and written with {bits} bits a channel.
A file of more bits does not add any to the picture. Use it for review, for editorial, as a temporary shot. It is no
source for scene-linear EXR or DPX finals, and hard grading will show it.

What else was changed on the way is listed there under "conversions". To check a copy: xxhsum -c checksums.xxh128
"""


@dataclass(frozen=True)
class Order:
    """What is asked of a delivery: where to, the task in its name, the video's name, and where the source lies.

    `source` is the video that was edited, or a folder that it is in under its own name, at any depth.
    """

    to: Path
    task: str | None = None
    name: str | None = None
    source: Path | None = None


@dataclass(frozen=True)
class Delivered:
    """A delivery that was made."""

    folder: Path
    sidecar: Sidecar


def deliver(
    finished: Finished, order: Order, say: Callable[[str], None], report: Callable[[int, int], None]
) -> Delivered:
    """Make a delivery; the output folder is only read. `report` is told frames of the proxy done, and in all.

    Raises:
        RequestError: a name, the place, the source or the scores are not what they should be.
        StoreError: the video, or what is remembered of it, is missing or damaged.
        RunError: a disk or an encoder failed, or the video does not run in step with its source.
    """
    task = _named(order.task or {"text": "edit", "view": "view"}[finished.turn.kind], "--task")
    video = _named(order.name or Path(finished.turn.video).stem, "--name")
    source = _source(finished, order.source)
    segments = _segments(finished, read_scores(finished.path))
    with staged(order.to, f"{video}_{task}", finished.turn.source, say) as stage:
        path = _take(finished, stage)
        proxy = write_handed_proxy(probe(path), stage.folder / f"{stage.name}_proxy.mp4", report).path
        master = _movie(path, source.footage)
        edit = _edit_list(stage.name, master, source, finished, segments)
        sidecar = Sidecar(
            name=stage.name,
            video=video,
            task=task,
            version=stage.version,
            delivered=datetime.now(UTC).isoformat(timespec="seconds"),
            software=f"memory-v2v {version('memory-v2v')}",
            notice=_write_notice(stage, master),
            master=master,
            proxy=_movie(proxy, source.footage),
            source=source,
            turn=_turn(finished),
            settings=finished.noted.settings,
            shots=tuple((shot.start, shot.stop) for shot in finished.shots),
            segments=segments,
            conversions=(*_conversions(finished, source.footage), *limits(edit)),
            edit_lists=tuple(written.name for written in write_edit_lists(edit, stage.folder)),
            checksums={there.name: xxh128(there) for there in sorted(stage.folder.iterdir())},
        )
        (stage.folder / f"{stage.name}.json").write_text(sidecar_text(sidecar), encoding="utf-8")
        seal(stage.folder)
    return Delivered(order.to / stage.name, sidecar)


def _edit_list(
    name: str, master: Movie, source: SourceTold, finished: Finished, segments: tuple[SegmentTold, ...]
) -> EditList:
    return EditList(
        name=name,
        media=master.path,
        rate=source.footage.exact_rate,
        timecode=source.footage.timecode,
        parts=tuple(
            Part(f"s{one.shot:02d}_seg{one.index:04d}", *one.clip, one.model_dump(mode="json")) for one in segments
        ),
        marks=_marks(segments, [shot.start for shot in finished.shots]),
        told={"source": source.name, "asked": finished.turn.asked, "weights": finished.segments[0].model},
    )


def _named(text: str, option: str) -> str:
    name = plain_name(text)[:LONGEST_NAME]
    if not name:
        raise RequestError(f"{text!r}: nothing of it can be in a name; give {option} of letters, digits, '.', '_', '-'")
    return name


def _source(finished: Finished, place: Path | None) -> SourceTold:
    """The source as it is, where it is at hand, or as it was noted when the video was written."""
    turn = finished.turn
    if place is not None:
        name = Path(turn.video).name
        named = place / name if place.is_dir() else place
        path, content = find_original(place, name, turn.source, _hash) or (named, "")
        found = footage_of(probe(path))
        if content != turn.source:
            raise RequestError(f"{path}: is not the video that was edited (sha256 {content}, not {turn.source})")
        return SourceTold(name=turn.video, sha256=turn.source, verified=True, footage=found)
    noted = finished.noted.source
    if noted is None:
        raise RequestError(
            f"{finished.path}: its folder does not tell what the source was like (an earlier version wrote it); "
            f"give the source, {turn.video}, with --source"
        )
    return SourceTold(name=turn.video, sha256=turn.source, verified=False, footage=noted)


def _hash(path: Path) -> str:
    """sha256 of a source; of a folder's thousand videos of one name each is read once."""
    state = path.stat()
    return _hash_as_it_is(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=2**16)
def _hash_as_it_is(path: Path, size: int, changed: int) -> str:
    return hash_file(path)


def _take(finished: Finished, stage: Staged) -> Path:
    """The finished video under its new name: a link where the file system is the same, else a copy; verified."""
    if not finished.path.is_file():
        raise StoreError(f"{finished.path}: is missing; run the command of its turn again")
    master = stage.folder / f"{stage.name}{finished.path.suffix}"
    try:
        os.link(finished.path.resolve(), master)  # a result that was moved away may have left a link
    except OSError:  # another file system, or one without links
        copyfile(finished.path, master)
    if hash_file(master) != finished.entry.checksum:
        raise StoreError(f"{finished.path}: has changed since it was finished; run the command of its turn again")
    return master


def _movie(path: Path, source: Footage) -> Movie:
    """A file of the delivery, compared with the source.

    Raises:
        RunError: it does not run in step with the source.
    """
    footage = footage_of(probe(path))
    differs = changes(source, footage)
    if broken := [differs[name] for name in KEPT if name in differs]:
        raise RunError(f"{path.name}: {'; '.join(broken)}; it was not delivered, report this")
    return Movie(
        path=path.name,
        frame_out=FIRST_FRAME + footage.frames - 1,
        nb_frames=footage.frames,
        fps=float(footage.exact_rate),
        drop_frame=footage.drop_frame,
        footage=footage,
        differs=tuple(differs.values()),
    )


def _segments(finished: Finished, scores: Scores) -> tuple[SegmentTold, ...]:
    if strange := [one.index for one in scores.segments if one.index >= len(finished.segments)]:
        raise RequestError(f"{finished.path}: its scores name segment {strange[0]}, which it has not; judge it again")
    return tuple(
        SegmentTold(
            index=row.segment,
            shot=row.shot,
            id=row.id,
            span=(row.start, row.stop),
            clip=(clip.start, clip.stop),
            seed=str(row.seed),
            recalled=tuple(_recalled(memory.id, memory.score, memory.reason, finished) for memory in row.recalls),
            scores=scores.of(row.segment).scores,
            flags=scores.of(row.segment).flags,
        )
        for row, clip in zip(finished.segments, finished.clips, strict=True)
    )


def _recalled(id: str, score: float, reason: str, finished: Finished) -> RecalledTold:
    turn, segment = finished.places.get(id, (None, None))
    return RecalledTold(id=id, turn=turn, segment=segment, score=score, reason=reason)


def _marks(segments: tuple[SegmentTold, ...], shots: list[int]) -> tuple[Mark, ...]:
    """One for each cut, and one for each flag, where its segment begins."""
    cuts = [Mark("cut", start, {"frame": start}) for start in shots[1:]]
    flags = [
        Mark(flag, one.clip[0], {"segment": one.index, "scores": dict(one.scores)})
        for one in segments
        for flag in one.flags
    ]
    return tuple(sorted(cuts + flags, key=lambda mark: mark.frame))


def _turn(finished: Finished) -> TurnTold:
    turn, settings = finished.turn, finished.noted.settings
    return TurnTold(
        kind=turn.kind,
        asked=turn.asked,
        session=turn.session,
        number=turn.number,
        parent=turn.parent,
        created=turn.created.isoformat(timespec="seconds"),
        seed=settings.get("seed", "untold"),
        model=settings.get("model", "untold"),
        weights=finished.segments[0].model,
    )


def _conversions(finished: Finished, source: Footage) -> tuple[str, ...]:
    noted = finished.noted.conversions
    if not source.variable_rate:
        return noted
    return (*noted, f"The rate varies: rates here and in the edit lists are the mean, {float(source.exact_rate):g}.")


def _write_notice(stage: Staged, master: Movie) -> str:
    made = master.footage
    text = NOTICE.format(name=stage.name, width=made.width, height=made.height, bits=made.bit_depth)
    (stage.folder / "NOTICE.txt").write_text(text, encoding="utf-8")
    return " ".join(text.replace("**", "").rpartition("\n\n")[0].split())
