"""A COLMAP model in text form: which way its poses go, lenses, order, damage."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from model.camera.colmap import read_colmap
from model.camera.presets import preset
from model.camera.projection import Intrinsics, project, to_camera
from model.camera.trajectory import rotations
from model.errors import RequestError
from tests.model.camera.files import LENS, write_colmap

PATH = preset("arc-right", 12)
IMAGE = "1 1 0 0 0 0 0 0 1 a.png\n\n"


def write(folder: Path, images: str = IMAGE, camera: str = "1 PINHOLE 640 400 500 510 320 200") -> Path:
    (folder / "cameras.txt").write_text(camera)
    (folder / "images.txt").write_text(images)
    return folder


@given(st.integers(0, 10_000))
def test_a_point_falls_on_the_pixel_that_colmap_gives(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """By COLMAP's convention a world point X is R(q) X + t before the camera, and K (R X + t) in the picture."""
    random = np.random.default_rng(seed)
    quaternion, translation = random.normal(size=4), random.normal(size=3)
    quaternion /= np.linalg.norm(quaternion)
    w, x, y, z = quaternion
    before = np.array([*random.uniform(-1, 1, 2), random.uniform(2, 5)])
    rotation = rotations(np.array([[x, y, z, w]]))[0]
    point = rotation.T @ (before - translation)
    line = " ".join(map(str, [1, *quaternion.tolist(), *translation.tolist(), 1, "a b.png"]))
    camera = read_colmap(write(tmp_path_factory.mktemp("model"), f"{line}\n\n"))
    pixel, depth = project(to_camera(point, camera.trajectory.poses[0]), LENS)
    assert_allclose(pixel, (LENS.matrix @ before)[:2] / before[2], atol=1e-6)
    assert_allclose(depth, before[2])


def test_quaternions_begin_with_their_real_part(tmp_path: Path) -> None:
    """A quarter turn to the left of the world, (cos 45, 0, -sin 45, 0), is a camera that looks to the right."""
    half = 0.5**0.5
    camera = read_colmap(write(tmp_path, f"1 {half} 0 {-half} 0 0 0 0 1 a.png\n\n"))
    assert_allclose(camera.trajectory.poses[0, :3, 2], [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("points", ["", "10.5 20.5 -1 30 40 7"])
def test_a_path_survives_the_folder_in_the_order_of_names(tmp_path: Path, points: str) -> None:
    camera = read_colmap(write_colmap(tmp_path / "model", PATH, points=points))
    assert_allclose(camera.trajectory.poses, PATH.poses, atol=1e-9)
    assert camera.intrinsics == LENS
    assert camera.notes == ()


@pytest.mark.parametrize(
    ("line", "intrinsics", "distorted"),
    [
        ("1 SIMPLE_PINHOLE 640 400 500 320 200", Intrinsics(500, 500, 320, 200, 640, 400), False),
        ("1 PINHOLE 640 400 500 510 320 200", LENS, False),
        ("1 SIMPLE_RADIAL 640 400 500 320 200 0.1", Intrinsics(500, 500, 320, 200, 640, 400), True),
        ("1 RADIAL 640 400 500 320 200 0 0", Intrinsics(500, 500, 320, 200, 640, 400), False),
        ("1 OPENCV 640 400 500 510 320 200 0 0 0.01 0", LENS, True),
    ],
)
def test_camera_models(tmp_path: Path, line: str, intrinsics: Intrinsics, distorted: bool) -> None:
    camera = read_colmap(write(tmp_path, camera=line))
    assert camera.intrinsics == intrinsics
    assert camera.notes == (("lens distortion is ignored",) if distorted else ())


def test_the_first_image_decides_between_lenses(tmp_path: Path) -> None:
    lenses = "7 SIMPLE_PINHOLE 640 400 300 320 200\n1 PINHOLE 640 400 500 510 320 200"
    images = "1 1 0 0 0 0 0 0 7 b10.png\n\n2 1 0 0 0 0 0 0 1 b9.png\n\n"
    camera = read_colmap(write(tmp_path, images, lenses))
    assert camera.intrinsics == LENS
    assert "several lenses" in camera.notes[0]


@pytest.mark.parametrize(
    ("images", "camera", "message"),
    [
        ("", None, "has no images"),
        ("1 1 0 0 0 0 0 0 1\n\n", None, "9 columns; expected the 10"),
        ("1 1 0 0 0 0 0 nan 1 a.png\n\n", None, "image 'a.png' in .* is 'nan'"),
        ("1 1 0 x 0 0 0 0 1 a.png\n\n", None, "is 'x'; expected a finite number"),
        ("1 2 0 0 0 0 0 0 1 a.png\n\n", None, "length is not 1"),
        ("1 1 0 0 0 0 0 0 4 a.png\n\n", None, "uses camera 4, which cameras.txt does not have"),
        (IMAGE.strip() + "\n" + IMAGE, None, "expected the image's points, or an empty line"),
        (IMAGE, "1 FISHEYE 640 400 1 2 3 4", "model 'FISHEYE'; expected one of SIMPLE_PINHOLE"),
        (IMAGE, "1", "has the model ''"),
        (IMAGE, "1 PINHOLE 640 400 500 510 320", "has 7 columns"),
        (IMAGE, "1 PINHOLE 640 -400 500 510 320 200", "expected whole pixels"),
        (IMAGE, "1 PINHOLE 640 400 inf 510 320 200", "camera 1 in .* is 'inf'"),
        (IMAGE, "1 PINHOLE 640 400 0 510 320 200", "must be positive"),
    ],
)
def test_damaged_models_are_refused_in_one_sentence(
    tmp_path: Path, images: str, camera: str | None, message: str
) -> None:
    folder = write(tmp_path, images, camera) if camera else write(tmp_path, images)
    with pytest.raises(RequestError, match=message) as caught:
        read_colmap(folder)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has no cameras\.txt"):
        read_colmap(tmp_path)
    (tmp_path / "cameras.bin").touch()
    with pytest.raises(RequestError, match="colmap model_converter --output_type TXT"):
        read_colmap(tmp_path)
    (write(tmp_path) / "images.txt").unlink()
    with pytest.raises(RequestError, match=r"has no images\.txt"):
        read_colmap(tmp_path)
    (tmp_path / "images.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(RequestError, match="no text in UTF-8"):
        read_colmap(tmp_path)
