"""MultiCamVideo (ReCamMaster's dataset): scenes, each filmed by ten cameras at once, below a folder for each lens.

    f18_aperture10/scene1/videos/cam01.mp4 ... cam10.mp4
    f18_aperture10/scene1/cameras/camera_extrinsics.json

A pair is one camera's film and the next one's. Nothing is edited: the "edit" is another view, and the trajectories of
both cameras come along. A whole scene is a clip to train novel views on: one film is the user's video, each other one a
turn.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from model.camera.multicam import read_cameras
from model.errors import InputError, RequestError, VideoError
from storage.content_id import identify
from storage.datasets.media import read_media
from storage.datasets.pairs import Broken, Entry, Pair

CAMERAS = "cameras/camera_extrinsics.json"
MOST_FRAMES = 1000  # of a film: those of the dataset have 81


@dataclass(frozen=True)
class MultiCam:
    """A folder of scenes."""

    folder: Path

    def entries(self) -> Sequence[Entry]:
        return [entry for entry, _, _ in self._pairs()]

    def read(self, wanted: Collection[str]) -> Iterator[Pair | Broken]:
        for entry, source, target in self._pairs():
            if entry.id not in wanted:
                continue
            try:
                cameras = read_cameras(source.parents[1] / CAMERAS)
                yield Pair(entry, source, target, cameras=(cameras[source.stem], cameras[target.stem]))
            except (InputError, KeyError) as fault:
                yield Broken(entry, f"{source.parents[1] / CAMERAS}: {fault}")

    def _pairs(self) -> list[tuple[Entry, Path, Path]]:
        pairs = []
        for scene in find_scenes(self.folder):
            name = "-".join(scene.relative_to(self.folder).parts) or scene.name
            for source, target in pairwise(sorted((scene / "videos").glob("*.mp4"))):
                origin = tuple(path.relative_to(self.folder).as_posix() for path in (source, target))
                pairs.append((Entry(f"{name}-{source.stem}-{target.stem}", name, "", origin), source, target))
        return pairs


def find_scenes(folder: Path) -> list[Path]:
    """The folders of scenes below a folder, in the order of their names.

    Raises:
        RequestError: there is none.
    """
    scenes = sorted(path.parents[1] for path in folder.rglob(CAMERAS))
    if not scenes:
        raise RequestError(f"{folder}: no scenes; expected LENS/SCENE/{CAMERAS} and LENS/SCENE/videos")
    return scenes


@dataclass(frozen=True)
class SceneClip:
    """A clip of novel views in whole segments: the user's video, told once, and turn after turn what others filmed.

    `cameras` are their poses as in `EditedClip`.
    """

    id: str
    source: UInt8[np.ndarray, "frame height width 3"]
    views: UInt8[np.ndarray, "seen height width 3"]
    cameras: Float32[np.ndarray, "segment latent 12"]


@dataclass(frozen=True)
class Scene:
    """One scene as a clip of novel views, in segments of `frames` frames of `height` x `width`.

    The user's video is the film of one camera, which follows from the scene's name, so that it is not always the first.
    """

    folder: Path
    height: int
    width: int
    frames: int

    def name(self, codec: str) -> str:
        """Of the clip as latents of the codec with this hash: files count by size and time, not by what is in them."""
        files = [self.folder / CAMERAS, *self._films()]
        seen = {str(path.relative_to(self.folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
        size = self.height, self.width, self.frames
        return identify({"scene": self.folder.name, "files": seen, "size": size, "codec": codec})

    def draw(self) -> SceneClip:
        """The clip, as far as all films go.

        Raises:
            RequestError: fewer than two films are there, or no camera is told for one.
            VideoError: a film is damaged, too short, or not as large as the others.
        """
        films, cameras = self._films(), read_cameras(self.folder / CAMERAS)
        if len(films) < 2 or any(film.stem not in cameras for film in films):
            raise RequestError(f"{self.folder}: expected two films or more, each of a camera in {CAMERAS}")
        user = films.pop(int(identify({"scene": self.folder.name})[:8], 16) % len(films))
        shown = [read_media(film, self.height, self.width, MOST_FRAMES) for film in (user, *films)]
        length = min(*map(len, shown), *(len(path) for path in cameras.values())) // self.frames * self.frames
        if length == 0 or len({each.shape[1:] for each in shown}) > 1:
            raise VideoError(f"{self.folder}: expected films of {self.frames} frames or more, all of one orientation")
        source, *views = (each[:length] for each in shown)
        origin = cameras[user.stem].poses[0]
        paths = [cameras[film.stem].relative_to(origin) for film in films]
        firsts = range(0, length, self.frames)
        parts = (path.part(first, first + self.frames, self.frames) for path in paths for first in firsts)
        rows = np.stack([part.latent_rows() for part in parts])
        return SceneClip("-".join(self.folder.parts[-2:]), source, np.concatenate(views), rows)

    def _films(self) -> list[Path]:
        return sorted((self.folder / "videos").glob("*.mp4"))
