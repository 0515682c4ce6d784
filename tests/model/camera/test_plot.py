"""The picture of a path is well-formed, small, and shows the path."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from model.camera.plot import SIZE, plot_trajectory
from model.camera.presets import PRESETS, preset
from model.camera.trajectory import Trajectory

SVG = "{http://www.w3.org/2000/svg}"


def lines(svg: str) -> list[np.ndarray]:
    drawn = ElementTree.fromstring(svg).findall(f"{SVG}polyline")
    return [np.array([[float(x) for x in pair.split(",")] for pair in line.attrib["points"].split()]) for line in drawn]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_drawn_inside_the_picture(name: str) -> None:
    svg = plot_trajectory(preset(name, 81))
    numbers = [float(number) for points in re.findall(r'points="([^"]*)"', svg) for number in re.split("[ ,]", points)]
    assert len(svg) < 10_000
    assert min(numbers) >= 0
    assert max(numbers) <= 2 * SIZE
    assert len(ElementTree.fromstring(svg).findall(f"{SVG}polygon")) == 18


def test_forward_is_up_from_above_and_right_from_the_side() -> None:
    above, side = lines(plot_trajectory(preset("zoom-in", 5)))
    assert (np.diff(above[:, 1]) < 0).all()
    assert (np.diff(side[:, 0]) > 0).all()


def test_a_still_camera_is_drawn_too() -> None:
    above, _ = lines(plot_trajectory(Trajectory.still(1)))
    assert above.tolist() == [[SIZE / 2, SIZE / 2]]
