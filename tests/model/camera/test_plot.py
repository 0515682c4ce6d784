"""Pictures of cameras are well-formed, small, and show what they should."""

from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.testing import assert_allclose

from model.camera.plot import (
    CAPTION,
    SIZE,
    draw_overlap,
    draw_trajectory,
    plot_trajectory,
    shorten,
    stack_drawings,
)
from model.camera.presets import PRESETS, Moves, preset
from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>&\"'"


def shapes(svg: str, kind: str) -> list[np.ndarray]:
    drawn = ElementTree.fromstring(svg).findall(f"{SVG}{kind}")
    return [np.array([[float(x) for x in pair.split(",")] for pair in line.attrib["points"].split()]) for line in drawn]


def texts(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def opening(outline: np.ndarray, apex: np.ndarray) -> float:
    """Degrees between the outermost corners of a silhouette, seen from the camera."""
    rays = [corner - apex for corner in outline if np.linalg.norm(corner - apex) > 0.2]
    angles = np.degrees(np.unwrap([np.arctan2(y, x) for x, y in rays]))
    return float(np.ptp(angles))


@pytest.mark.parametrize("angle", [30, 150])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_drawn_inside_the_picture(name: str, angle: int) -> None:
    svg = plot_trajectory(preset(name, 81), Intrinsics.from_angle(angle, 832, 480))
    drawn = np.concatenate(shapes(svg, "polygon") + shapes(svg, "polyline"))
    assert len(svg) < 12_000
    assert drawn.min() >= 0
    assert (drawn.max(axis=0) <= (2 * SIZE, SIZE)).all()
    assert len(shapes(svg, "polygon")) == 18


def test_forward_is_up_from_above_and_right_from_the_side() -> None:
    above, side = shapes(plot_trajectory(preset("zoom-in", 5)), "polyline")
    assert (np.diff(above[:, 1]) < 0).all()
    assert (np.diff(side[:, 0]) > 0).all()


def test_a_still_camera_is_drawn_too() -> None:
    svg = plot_trajectory(Trajectory.still(1))
    assert shapes(svg, "polyline")[0].tolist() == [[SIZE / 2, SIZE / 2]]
    assert "stands in one place" in texts(svg)


@pytest.mark.parametrize("angle", [20, 60, 100])
def test_frustums_are_as_wide_as_the_lens_sees(angle: int) -> None:
    lens = Intrinsics.from_angle(angle, 832, 480)
    svg = plot_trajectory(Trajectory.still(1), lens)
    above, side = shapes(svg, "polygon")
    assert_allclose(opening(above, np.array([SIZE / 2, SIZE / 2])), lens.angles[0], atol=0.5)
    assert_allclose(opening(side, np.array([1.5 * SIZE, SIZE / 2])), lens.angles[1], atol=0.5)


def test_a_frustum_seen_from_behind_is_its_picture() -> None:
    """After a quarter turn to the right, the side view looks along the camera: a rectangle as wide as the picture."""
    turned = preset("pan-right", 2, Moves(pan=90))
    outline = shapes(plot_trajectory(turned), "polygon")[3]
    width, height = np.ptp(outline, axis=0)
    assert_allclose(width / height, 832 / 480, rtol=0.01)


@pytest.mark.parametrize(("metres", "label"), [(2, "1 m"), (0.3, "0.1 m"), (70, "20 m")])
def test_the_bar_is_a_round_length_in_scale(metres: float, label: str) -> None:
    path = np.tile(np.eye(4), (2, 1, 1))
    path[1, 2, 3] = metres
    svg = draw_trajectory(Trajectory(path)).document()
    assert label in texts(svg)
    drawn = np.ptp(shapes(svg, "polyline")[0][:, 1])
    bar = next(p.attrib["d"] for p in ElementTree.fromstring(svg).iter(f"{SVG}path") if "v6h" in p.attrib["d"])
    assert_allclose(float(bar.split("h")[1].split("v")[0]) / drawn, float(label.split()[0]) / metres, rtol=0.01)


def test_a_drawing_is_told_in_words_too() -> None:
    root = ElementTree.fromstring(draw_trajectory(preset("zoom-in", 5), title="mine", unit="units").document())
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") == "mine"
    assert "5 frames, 2.00 units, turned 0 degrees" in (root.findtext(f"{SVG}desc") or "")


def test_the_matrix_shows_every_number_and_name() -> None:
    scores = np.array([[1, 0.25], [0.75, 1]])
    svg = draw_overlap(["first", "second"], scores).document()
    written = texts(svg)
    assert {"1 first", "2 second", "1.00", "0.25", "0.75"} <= {" ".join(text.split()) for text in written}
    titles = [title.text for title in ElementTree.fromstring(svg).iter(f"{SVG}title")]
    assert "target second, cached first: 0.75" in titles
    assert "target first: 1.00 with first, 0.25 with second" in draw_overlap(["first", "second"], scores).description


def test_more_is_darker() -> None:
    svg = draw_overlap(["a", "b"], np.array([[1, 0.25], [0.75, 1]])).document()
    cells = [group.find(f"{SVG}rect") for group in ElementTree.fromstring(svg).findall(f"{SVG}g")]
    lightness = [float(cell.attrib["fill"].split()[-1].rstrip("%)")) for cell in cells if cell is not None]
    assert lightness[0] == lightness[3] < lightness[2] < lightness[1]


def test_drawings_are_stacked_without_overlap() -> None:
    drawings = [draw_trajectory(preset(name, 5), title=name) for name in ("pan-left", "zoom-in")]
    matrix = draw_overlap(["pan-left", "zoom-in"], np.eye(2))
    stacked = stack_drawings([*drawings, matrix], "all")
    inner = ElementTree.fromstring(stacked.document()).findall(f"{SVG}svg")
    tops = [float(one.attrib["y"]) for one in inner]
    ends = [top + float(one.attrib["height"]) for top, one in zip(tops, inner, strict=True)]
    assert tops[1:] == ends[:-1]
    assert ends[-1] == stacked.height
    assert drawings[0].height == SIZE + CAPTION


def test_names_are_escaped_and_cut_in_the_middle() -> None:
    drawings = [draw_trajectory(Trajectory.still(1), title=HOSTILE), draw_overlap([HOSTILE, "b"], np.eye(2))]
    root = ElementTree.fromstring(stack_drawings(drawings, HOSTILE).document())
    assert root.findtext(f"{SVG}title") == HOSTILE
    assert not list(root.iter(f"{SVG}script"))
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 7) == "abc…ijk"
