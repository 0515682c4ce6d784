"""Replicas of the datasets that pairs come from: small videos, in the layouts in which they are published."""

import io
import json
import subprocess
import tarfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from model.camera.multicam import write_cameras
from model.camera.presets import preset
from storage.ffmpeg import find_ffmpeg

FRAMES = 33


def write_clip_file(path: Path, seed: int, width: int = 48, height: int = 32, frames: int = FRAMES) -> Path:
    """A moving pattern, its own by seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    hues = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    shift = np.arange(frames)[:, None, None, None] / 4
    waves = 127 + 90 * np.sin((x[None, ..., None] + y[None, ..., None] / 2) / 6 + shift + hues)
    command = [str(find_ffmpeg()), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", "24", "-i", "-", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=waves.astype(np.uint8).tobytes(), check=True)
    return path


def write_senorita(folder: Path, count: int, corrupt: Collection[int] = (), portrait: Collection[int] = ()) -> Path:
    """`count` pairs of a task in an archive, with a list whose paths are those of another machine.

    Videos of `corrupt` pairs are cut off or missing, by turns.
    """
    folder.mkdir(parents=True)
    pairs = []
    with tarfile.open(folder / "obj_swap.tar.gz", "w:gz") as archive:
        for number in range(count):
            size = (32, 48) if number in portrait else (48, 32)
            for kind in ("source", "target"):
                name = f"obj_swap/{kind}/{number:05d}.mp4"
                video = write_clip_file(folder / "video.mp4", 2 * number + (kind == "target"), *size).read_bytes()
                if number in corrupt and kind == "target":
                    if number % 2:
                        continue
                    video = video[: len(video) // 3]
                member = tarfile.TarInfo(name)
                member.size = len(video)
                archive.addfile(member, io.BytesIO(video))
            paths = {
                f"{kind}_video_path": f"/mnt/lab/senorita/obj_swap/{kind}/{number:05d}.mp4"
                for kind in ("source", "target")
            }
            pairs.append({**paths, "enhanced_instruction": f"swap object {number % 7}", "type": "obj_swap"})
    (folder / "video.mp4").unlink()
    (folder / "obj_swap.json").write_text(json.dumps(pairs))
    return folder


def write_multicam(folder: Path, scenes: int = 2, cameras: int = 3) -> Path:
    """Scenes, each filmed by some cameras, below the folder of a lens."""
    for scene in range(1, scenes + 1):
        place = folder / "f24_aperture5" / f"scene{scene}"
        names = [f"cam{number:02d}" for number in range(1, cameras + 1)]
        for number, name in enumerate(names):
            write_clip_file(place / "videos" / f"{name}.mp4", 10 * scene + number)
        (place / "cameras").mkdir()
        write_cameras(place / "cameras/camera_extrinsics.json", {name: preset("pan-left", FRAMES) for name in names})
    return folder
