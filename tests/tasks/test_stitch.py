"""Names of edited videos: every file system takes them, and a version is never overwritten."""

import re
from pathlib import Path

import pytest

from model.errors import RunError
from storage.archive import VIDEO_NAME
from storage.garbage import find_garbage, unrecorded
from tasks.stitch import output_path


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("film.mp4", "film_edit_v001.mp4"),
        ("my film (2).final.MOV", "my_film_2_.final_edit_v001.mp4"),
        ("映画.mp4", "video_edit_v001.mp4"),
        ("-rf.mp4", "rf_edit_v001.mp4"),
        ("a" * 200 + ".mp4", "a" * 80 + "_edit_v001.mp4"),
    ],
)
def test_names_are_plain(source: str, name: str, tmp_path: Path) -> None:
    assert output_path(Path(source), tmp_path) == tmp_path / name


@pytest.mark.parametrize(
    "taken", ["film_edit_v001.mp4", "film_edit_v001.mov", "film_edit_v001.html", "film_edit_v001_review"]
)
def test_versions_that_left_anything_behind_are_not_used_again(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).touch()
    assert output_path(Path("film.mp4"), tmp_path).name == "film_edit_v002.mp4"


def test_the_highest_version_counts(tmp_path: Path) -> None:
    for name in ("film_edit_v001.mp4", "film_edit_v041.mp4", "film2_edit_v099.mp4", "film_edit_vx.mp4"):
        (tmp_path / name).touch()
    assert output_path(Path("film.mp4"), tmp_path).name == "film_edit_v042.mp4"


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "film_edit_v001.mp4").touch()
    assert output_path(Path("f[il]m*.mp4"), tmp_path).name == "f_il_m_edit_v001.mp4"


def test_a_video_that_was_killed_before_its_entry_is_garbage(tmp_path: Path) -> None:
    video = tmp_path / "film_edit_v001.mov"

    def killed() -> None:
        video.touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), unrecorded(video):
        killed()
    assert find_garbage(tmp_path, []).files == (video,)
    with pytest.raises(RunError), unrecorded(tmp_path / "other.mov"):
        raise RunError("the encoder failed")
    with unrecorded(tmp_path / "third.mov"):
        (tmp_path / "third.mov").touch()
    assert sorted(path.name for path in tmp_path.glob(".*.removed")) == [".film_edit_v001.mov.removed"]


def test_the_longest_name_may_travel(tmp_path: Path) -> None:
    path = output_path(Path("a" * 100 + ".mp4"), tmp_path, "b" * 100)
    assert re.fullmatch(VIDEO_NAME, path.name)


def test_a_view_is_named_after_its_turn_and_camera(tmp_path: Path) -> None:
    (tmp_path / "film_turn02_arc-left_v001.mp4").touch()
    assert output_path(Path("film.mp4"), tmp_path, "turn02_arc-left").name == "film_turn02_arc-left_v002.mp4"
    assert output_path(Path("film.mp4"), tmp_path, "turn03_../x y").name == "film_turn03_.._x_y_v001.mp4"
