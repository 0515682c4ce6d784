"""Cameras of a COLMAP model in its text form: a folder with `cameras.txt` and `images.txt`. Numpy half: no torch.

    cameras.txt   CAMERA_ID MODEL WIDTH HEIGHT PARAMS...
    images.txt    IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line with the points of that image, often empty

Quaternions and translations are world-to-camera, inverted here; the axes of the camera are ours (x right, y down,
z forward), and so are pixel coordinates. The scale of a reconstruction is arbitrary, and its world turned at will.
Images are taken in the order of their names, numbers counted (`f2` before `f10`). Points are not read, and distortion
is left out, and said so.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from model.camera.camera_file import RecordedCamera, by_number, image_size, number, open_text
from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory, rotations
from model.errors import RequestError

CAMERAS, IMAGES = "cameras.txt", "images.txt"
LARGEST_IMAGES = 1024 * 2**20  # most of it points, which are passed over line by line
UNIT_TOLERANCE = 1e-2

PARAMETERS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}
"""What the numbers of a camera mean, by its model."""

Lens = tuple[Intrinsics, bool]
"""Intrinsics, and whether distortion was left out of them."""


def read_colmap(folder: Path) -> RecordedCamera:
    """The cameras of the model in `folder`. Raises `RequestError` for a folder of another form."""
    if not (folder / CAMERAS).is_file() and (folder / "cameras.bin").is_file():
        raise RequestError(f"{folder} has COLMAP's binary form; run: colmap model_converter --output_type TXT")
    for name in (CAMERAS, IMAGES):
        if not (folder / name).exists():
            raise RequestError(f"{folder} has no {name}; give the folder of a COLMAP model in text form")
    lenses = _read_lenses(folder / CAMERAS)
    images = sorted(_read_images(folder / IMAGES), key=lambda image: by_number(image[0]))
    if not images:
        raise RequestError(f"{folder / IMAGES} has no images; give a model with at least one")
    poses, used = [pose for _, pose, _ in images], [camera for _, _, camera in images]
    if missing := set(used) - lenses.keys():
        raise RequestError(f"{folder / IMAGES} uses camera {min(missing)}, which {CAMERAS} does not have")
    trajectory = Trajectory(np.stack(poses))
    return RecordedCamera(trajectory, lenses[used[0]][0], _notes([lenses[id] for id in dict.fromkeys(used)]))


def _read_lenses(path: Path) -> dict[str, Lens]:
    with open_text(path) as file:
        lines = [line.split() for line in _lines(file, path) if line and not line.startswith("#")]
    return {words[0]: _lens(words, path) for words in lines}


def _lens(words: list[str], path: Path) -> Lens:
    where = f"camera {words[0]} in {path}"
    names = PARAMETERS.get(words[1] if len(words) > 1 else "")
    if names is None:
        raise RequestError(f"{where} has the model {' '.join(words[1:2])!r}; expected one of {', '.join(PARAMETERS)}")
    if len(words) != 4 + len(names):
        raise RequestError(f"{where} has {len(words)} columns; expected an id, {words[1]}, width, height, {names}")
    width, height, *parameters = (number(word, where) for word in words[2:])
    numbers = dict(zip(names, parameters, strict=True))
    fx, fy = (numbers.get(name, numbers.get("f", 0.0)) for name in ("fx", "fy"))
    lens = Intrinsics(fx, fy, numbers["cx"], numbers["cy"], *image_size(width, height, where))
    return lens, any(value != 0 for name, value in numbers.items() if name[0] in "kp")


def _read_images(path: Path) -> Iterator[tuple[str, Float64[np.ndarray, "4 4"], str]]:
    """Name, camera-to-world pose and camera id of every image; the line after each, its points, is passed over."""
    with open_text(path, LARGEST_IMAGES) as file:
        lines = _lines(file, path)
        for line in lines:
            if not line or line.startswith("#"):
                continue
            yield _image(line, path)
            if len(next(lines, "").split()) % 3:
                raise RequestError(f"{path}: after {line[:60]!r} expected the image's points, or an empty line")


def _image(line: str, path: Path) -> tuple[str, Float64[np.ndarray, "4 4"], str]:
    words = line.split(maxsplit=9)
    if len(words) != 10:
        raise RequestError(f"{path}: {line[:60]!r} has {len(words)} columns; expected the 10 of an image")
    where = f"image {words[9][:60]!r} in {path}"
    qw, qx, qy, qz, *translation = (number(word, where) for word in words[1:8])
    if abs(np.linalg.norm([qw, qx, qy, qz]) - 1) > UNIT_TOLERANCE:
        raise RequestError(f"{where} has a quaternion whose length is not 1; expected a rotation")
    to_world = rotations(np.array([[qx, qy, qz, qw]]))[0].T
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = to_world, -to_world @ translation
    return words[9], pose, words[8]


def _lines(file: Iterator[str], path: Path) -> Iterator[str]:
    try:
        for line in file:
            yield line.strip()
    except UnicodeDecodeError:
        raise RequestError(f"{path} is no text in UTF-8; give the text form of a COLMAP model") from None


def _notes(lenses: list[Lens]) -> tuple[str, ...]:
    """Of the lenses that images use, in their order."""
    notes = []
    if len(lenses) > 1:
        notes.append("the images have several lenses: that of the first image is taken for all")
    if any(distorted for _, distorted in lenses):
        notes.append("lens distortion is ignored")
    return tuple(notes)
