"""A scene of MultiCamVideo is a clip of novel views: one film is the user's video, the others are turns."""

from pathlib import Path

import numpy as np
import pytest

from model.camera.multicam import write_cameras
from model.camera.presets import preset
from model.errors import InputError, RequestError, VideoError
from storage.datasets.media import read_media
from storage.datasets.multicam import CAMERAS, Scene, find_scenes
from tests.pair_files import FRAMES, write_clip_file, write_multicam

MOVES = {"cam01": "pan-left", "cam02": "tilt-up", "cam03": "zoom-in"}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (folder,) = find_scenes(write_multicam(tmp_path, scenes=1))
    write_cameras(folder / CAMERAS, {name: preset(move, FRAMES) for name, move in MOVES.items()})
    return Scene(folder, 32, 32, 9)


def test_one_film_is_the_users_and_the_others_are_turns(scene: Scene) -> None:
    clip, segments = scene.draw(), FRAMES // 9
    films = {path.stem: read_media(path, 32, 32, FRAMES)[: 9 * segments] for path in scene.folder.glob("videos/*.mp4")}
    (user,) = (name for name, film in films.items() if np.array_equal(clip.source, film))
    turns = [name for name in sorted(films) if name != user]
    assert np.array_equal(clip.views, np.concatenate([films[name] for name in turns]))
    assert clip.cameras.shape == (2 * segments, 3, 12)
    origin = preset(MOVES[user], FRAMES).poses[0]
    for place, name in enumerate(turns):
        path = preset(MOVES[name], FRAMES).relative_to(origin)
        rows = np.stack([path.part(first, first + 9, 9).latent_rows() for first in range(0, 9 * segments, 9)])
        assert clip.cameras[place * segments : (place + 1) * segments] == pytest.approx(rows, abs=1e-5)


def test_whatever_changes_a_scenes_clip_changes_its_name(scene: Scene) -> None:
    names = {scene.name("codec"), scene.name("other"), Scene(scene.folder, 32, 64, 9).name("codec")}
    assert scene.name("codec") in names
    write_clip_file(scene.folder / "videos/cam02.mp4", 99)
    names.add(scene.name("codec"))
    write_cameras(scene.folder / CAMERAS, {name: preset("arc-left", FRAMES) for name in MOVES})
    names.add(scene.name("codec"))
    assert len(names) == 5


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (
            lambda folder: [path.unlink() for path in sorted(folder.glob("videos/*"))[1:]],
            RequestError,
            "two films or more",
        ),
        (
            lambda folder: write_cameras(folder / CAMERAS, {"cam01": preset("pan-left", FRAMES)}),
            RequestError,
            "camera in",
        ),
        (
            lambda scene: [path.unlink() for path in sorted(scene.glob("videos/*"))[1:]],
            RequestError,
            "two films or more",
        ),
        (
            lambda scene: write_cameras(scene / CAMERAS, {"cam01": preset("tilt-up", FRAMES)}),
            RequestError,
            "a camera in",
        ),
        (lambda scene: write_clip_file(scene / "videos/cam02.mp4", 1, frames=5), VideoError, "9 frames or more"),
        (lambda scene: (scene / "videos/cam02.mp4").write_bytes(b"no film"), VideoError, "cam02.mp4"),
    ],
    ids=["alone", "without-camera", "short", "damaged"],
)
def test_a_scene_that_is_no_clip_is_told(spoil, kind: type[InputError], said: str, scene: Scene) -> None:
    spoil(scene.folder)
    with pytest.raises(kind, match=said) as told:
        scene.draw()
    assert "scene1" in str(told.value)


def test_a_folder_without_scenes_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no scenes; expected LENS/SCENE"):
        find_scenes(tmp_path)
