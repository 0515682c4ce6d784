"""A scene of MultiCamVideo is a clip of novel views: one film is the user's video, the others are turns."""

from collections.abc import Callable
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


def leave_one(folder: Path) -> None:
    for path in sorted(folder.glob("videos/*"))[1:]:
        path.unlink()


def tell_one_camera(folder: Path) -> None:
    write_cameras(folder / CAMERAS, {"cam01": preset("pan-left", FRAMES)})


def shorten_one(folder: Path) -> None:
    write_clip_file(folder / "videos/cam02.mp4", 1, frames=5)


def damage_one(folder: Path) -> None:
    (folder / "videos/cam02.mp4").write_bytes(b"no film")


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (leave_one, RequestError, "two films or more"),
        (tell_one_camera, RequestError, f"each of a camera in {CAMERAS}"),
        (shorten_one, VideoError, "films of 9 frames or more"),
        (damage_one, VideoError, r"cam02\.mp4"),
    ],
)
def test_a_scene_that_is_no_clip_is_told(
    spoil: Callable[[Path], None], kind: type[InputError], said: str, scene: Scene
) -> None:
    spoil(scene.folder)
    with pytest.raises(kind, match=said) as told:
        scene.draw()
    assert "scene1" in str(told.value)


def test_a_folder_without_scenes_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no scenes; expected LENS/SCENE"):
        find_scenes(tmp_path)
