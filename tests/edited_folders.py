"""Output folders made by hand: a tiny video and an edit of it, with all that a run writes down of them."""

import json
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from storage.content_id import hash_file, identify
from storage.ffmpeg import find_ffmpeg
from storage.ledger import TurnKind
from storage.store import open_store
from tests.storage.memories import SIZE, enter_turn, make_entry, make_latents, make_row

FRAMES, HEIGHT, WIDTH = 13, 48, 64
SEGMENTS = ((0, 8), (6, FRAMES))
OVERLAP = 2


def scene(seed: int) -> np.ndarray:
    """Smooth texture that moves, its own by seed, `[frame, height, width, 3]`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    hues = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    moved = x[None, ..., None] + 1.5 * np.arange(FRAMES)[:, None, None, None]
    wave = np.sin(moved / 7 + hues) + np.sin(y[None, ..., None] / 5 + moved / 11)
    return (120 + 40 * wave).clip(0, 255).astype(np.uint8)


def brighter(frames: np.ndarray) -> np.ndarray:
    """An edit that is alike everywhere."""
    return (frames.astype(np.float64) * 0.9 + 20).astype(np.uint8)


def flickering(frames: np.ndarray, by: float = 12) -> np.ndarray:
    """That edit, with every second frame lighter."""
    levels = by * (np.arange(len(frames)) % 2)[:, None, None, None]
    return (brighter(frames) + levels).clip(0, 255).astype(np.uint8)


def write_frames(path: Path, frames: np.ndarray) -> Path:
    """A lossless video of RGB frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [str(find_ffmpeg()), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{frames.shape[2]}x{frames.shape[1]}", "-r", "24", "-i", "-"]
    command += ["-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p", str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def write_edit(
    folder: Path,
    original: Path,
    edited: np.ndarray,
    *,
    asked: str = "night",
    session: str = "film",
    kind: TurnKind = "text",
    copy: np.ndarray | None = None,
) -> Path:
    """A turn over the video `original`, with the review page's `copy` of that, if any; returns the result."""
    with open_store(folder, SIZE) as store:
        turn = enter_turn(
            store.ledger,
            session,
            f"{asked} {original}",
            kind=kind,
            asked=asked,
            video=original.name,
            source=hash_file(original),
        )
        rows = [
            replace(make_row(number, session=session, turn=turn), start=start, stop=stop)
            for number, (start, stop) in enumerate(SEGMENTS)
        ]
        for row in rows:
            store.memory.remember(row, *make_latents(row.segment))
        version = len(store.ledger.entries(kind="video")) + 1
        path = write_frames(folder / f"{original.stem}_edit_v{version:03d}.mp4", edited)
        if copy is not None:
            write_frames(path.with_name(f"{path.stem}_review") / "source.mp4", copy)
        note = {"frames": len(edited), "shots": 1, "segments": 2, "window": {"frames": 9, "overlap": OVERLAP}}
        entry = replace(
            make_entry(rows[0], path.name, hash_file(path)),
            id=identify({"video": str(path)}),
            kind="video",
            segment=-1,
            note=json.dumps(note),
        )
        store.ledger.record(replace(entry, recorded=entry.recorded + timedelta(seconds=version)))
    return path
