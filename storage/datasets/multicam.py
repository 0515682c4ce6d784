"""MultiCamVideo (ReCamMaster's dataset): scenes, each filmed by ten cameras at once, below a folder for each lens.

    f18_aperture10/scene1/videos/cam01.mp4 ... cam10.mp4
    f18_aperture10/scene1/cameras/camera_extrinsics.json

A pair is one camera's film and the next one's. Nothing is edited: the "edit" is another view, and the trajectories of
both cameras come along.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from model.camera.multicam import read_cameras
from model.camera.projection import Intrinsics
from model.errors import InputError, RequestError
from storage.datasets.pairs import Broken, Entry, Pair

CAMERAS = "cameras/camera_extrinsics.json"


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
        scenes = sorted(path.parents[1] for path in self.folder.rglob(CAMERAS))
        if not scenes:
            raise RequestError(f"{self.folder}: no scenes; expected LENS/SCENE/{CAMERAS} and LENS/SCENE/videos")
        pairs = []
        for scene in scenes:
            name = "-".join(scene.relative_to(self.folder).parts) or scene.name
            for source, target in pairwise(sorted((scene / "videos").glob("*.mp4"))):
                origin = tuple(path.relative_to(self.folder).as_posix() for path in (source, target))
                pairs.append((Entry(f"{name}-{source.stem}-{target.stem}", name, "", origin), source, target))
        return pairs


def lens_of(video: Path, width: int, height: int) -> Intrinsics:
    """Intrinsics of a film of the dataset, from the folder of its lens, such as `f18_aperture10`: 18 mm.

    Raises:
        RequestError: it lies below no such folder.
    """
    for folder in video.parents:
        length = folder.name.split("_")[0].removeprefix("f")
        if folder.name.startswith("f") and "_aperture" in folder.name and length.isdigit():
            return Intrinsics.from_lens(width, height, float(length))
    raise RequestError(f"{video}: lies below no folder of a lens; expected one such as f18_aperture10")
