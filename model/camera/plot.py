"""Pictures of cameras for reports, as SVG: a path with its frustums, and what views share. Numpy half: no torch.

Two views of a path share one scale: from above (right and forward) and from the side (forward and up). At some frames
the frustum is drawn as its silhouette in that view, as wide as the lens sees, from blue (first) to red (last).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import floor, log10

import numpy as np
from jaxtyping import Float64

from model.camera.projection import Intrinsics
from model.camera.trajectory import Trajectory

SIZE, MARGIN, CAPTION = 260, 44, 46  # of one view, in SVG units
HEADLINE = 32
FRUSTUM, LONE_FRUSTUM = 36, 100  # length of its edges along a path, and where the camera stands in one place
FRUSTUMS = 9
SHORTEST_PATH = 1e-3  # metres: below it a camera stands in one place
LENS = Intrinsics.from_lens(832, 480)

ABOVE = np.array([[1.0, 0, 0], [0, 0, -1]])
"""World to picture seen from above: x right stays right, z forward becomes up (SVG's y points down)."""
SIDE = np.array([[0, 0, 1.0], [0, 1, 0]])
"""World to picture seen from the left: z forward becomes right, y down stays down."""

CELL, LABELS, TOP = 46, 200, 40  # of the matrix: a cell, the names beside it, what is above it
LONGEST_LABEL = 28
INK, SOFT = "#222", "#555"

Corners = Float64[np.ndarray, "points 2"]


@dataclass(frozen=True)
class Drawing:
    """An SVG picture: its size, what it shows in a line, all that it shows in words, and its elements."""

    width: int
    height: int
    title: str
    description: str
    body: str

    def document(self, headline: bool = True) -> str:
        """A document of its own, with its title drawn above it, or without."""
        above = HEADLINE if headline else 0
        size = f'width="{self.width}" height="{self.height + above}"'
        head = _text(10, -11, shorten(self.title, self.width // 9), 15, INK, "start") if headline else ""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 {-above} {self.width} {self.height + above}" '
            f'role="img" font-family="system-ui, sans-serif"><title>{escape(self.title)}</title>'
            f'<desc>{escape(self.description)}</desc><rect y="{-above}" {size} fill="#fff"/>{head}{self.body}</svg>'
        )


def plot_trajectory(trajectory: Trajectory, intrinsics: Intrinsics = LENS) -> str:
    """An SVG document of the path and its frustums, as seen from its first camera."""
    return draw_trajectory(trajectory, intrinsics).document(headline=False)


def draw_trajectory(
    trajectory: Trajectory, intrinsics: Intrinsics = LENS, title: str = "camera path", unit: str = "m"
) -> Drawing:
    """The path and its frustums, as seen from its first camera; a bar shows a length in `unit`."""
    poses = trajectory.from_first().poses
    extent = float(np.ptp(poses[:, :3, 3], axis=0).max())
    moves = extent > SHORTEST_PATH
    scale = (SIZE - 2 * MARGIN) / extent if moves else 0.0
    frustum = intrinsics.corners * (FRUSTUM if moves else LONE_FRUSTUM)
    views = (_view(poses, frustum, axes, scale, left) for axes, left in ((ABOVE, 0), (SIDE, SIZE)))
    legend = _length_bar(scale, unit) if moves else _text(12, SIZE + 38, "stands in one place", anchor="start")
    captions = (
        _text(left + SIZE / 2, SIZE + 14, text)
        for left, text in ((0, "from above: forward is up"), (SIZE, "from the side: forward is right"))
    )
    divider = f'<path d="M{SIZE} 8V{SIZE + 18}" stroke="#ddd"/>'
    body = f"{divider}{''.join(views)}{''.join(captions)}{legend}{_order()}"
    horizontal, vertical = intrinsics.angles
    description = (
        f"{len(trajectory)} frames, {trajectory.metres:.2f} {unit}, turned {trajectory.degrees:.0f} degrees in all; "
        f"frustums of {horizontal:.0f} by {vertical:.0f} degrees, the first blue, the last red"
    )
    return Drawing(2 * SIZE, SIZE + CAPTION, title, description, body)


def draw_overlap(names: Sequence[str], scores: Float64[np.ndarray, "views views"]) -> Drawing:
    """What views share, 0 to 1: the row is the target, the column what is cached. Columns are named by number."""
    count = len(names)
    width, height = LABELS + CELL * count + 76, TOP + CELL * max(count, 3) + 12
    heads = (_text(LABELS + CELL * (index + 0.5), TOP - 8, f"{index + 1}") for index in range(count))
    rows = (_row(index, names, scores[index]) for index in range(count))
    corner = _text(10, TOP - 8, "target", anchor="start") + _text(LABELS - 8, TOP - 8, "cached", anchor="end")
    description = "; ".join(
        f"target {name}: " + ", ".join(f"{score:.2f} with {other}" for other, score in zip(names, row, strict=True))
        for name, row in zip(names, scores, strict=True)
    )
    body = f"{corner}{''.join(heads)}{''.join(rows)}{_colour_scale(LABELS + CELL * count + 20)}"
    return Drawing(width, height, "what the cameras share (VideoFOV)", description, body)


def stack_drawings(drawings: Sequence[Drawing], title: str) -> Drawing:
    """One picture of all, one below the other, each with its title."""
    width, top, body = max(drawing.width for drawing in drawings), 0, []
    for drawing in drawings:
        body.append(drawing.document().replace("<svg ", f'<svg y="{top}" ', 1))
        top += HEADLINE + drawing.height
    description = ". ".join(f"{drawing.title}: {drawing.description}" for drawing in drawings)
    return Drawing(width, top, title, description, "".join(body))


def shorten(text: str, longest: int) -> str:
    """`text`, its middle left out where it is longer than `longest` characters: paths differ at their ends."""
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def _view(
    poses: Float64[np.ndarray, "frames 4 4"],
    frustum: Float64[np.ndarray, "4 3"],
    axes: Float64[np.ndarray, "2 3"],
    scale: float,
    left: int,
) -> str:
    path = poses[:, :3, 3] @ axes.T
    middle = (path.max(axis=0) + path.min(axis=0)) / 2
    path = (path - middle) * scale + (left + SIZE / 2, SIZE / 2)
    edges = frustum @ poses[:, :3, :3].transpose(0, 2, 1) @ axes.T
    picked = np.unique(np.linspace(0, len(poses) - 1, FRUSTUMS).round().astype(int))
    frustums = (_frustum(path[index], edges[index], index / max(len(poses) - 1, 1)) for index in picked)
    return f'{"".join(frustums)}<polyline points="{_points(path)}" fill="none" stroke="#444" stroke-width="1.2"/>'


def _frustum(apex: Float64[np.ndarray, "2"], edges: Float64[np.ndarray, "4 2"], share: float) -> str:
    """The silhouette of a frustum, and a dot where its camera stands."""
    colour = _colour_of_time(share)
    outline = _points(_hull(np.concatenate([apex[None], apex + edges])))
    return (
        f'<polygon points="{outline}" fill="{colour}" fill-opacity="0.13" stroke="{colour}" stroke-opacity="0.7"/>'
        f'<circle cx="{apex[0]:.1f}" cy="{apex[1]:.1f}" r="2.5" fill="{colour}"/>'
    )


def _hull(points: Corners) -> Float64[np.ndarray, "hull 2"]:
    """The convex hull, by Andrew's monotone chain (1979)."""
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    lower, upper = _chain(ordered), _chain(ordered[::-1])
    return np.array(lower[:-1] + upper[:-1])


def _chain(points: Corners) -> list[np.ndarray]:
    chain: list[np.ndarray] = []
    for point in points:
        while len(chain) > 1 and np.linalg.det([chain[-1] - chain[-2], point - chain[-1]]) <= 0:
            chain.pop()
        chain.append(point)
    return chain


def _length_bar(scale: float, unit: str) -> str:
    """A round length: 1, 2 or 5 times a power of ten, at most 90 SVG units."""
    power = 10.0 ** floor(log10(90 / scale))
    length = next(step * power for step in (5, 2, 1) if step * power * scale <= 90 * (1 + 1e-9))
    bar = f'<path d="M12 {SIZE + 32}v6h{length * scale:.1f}v-6" fill="none" stroke="{SOFT}"/>'
    return bar + _text(20 + length * scale, SIZE + 38, f"{length:g} {unit}", anchor="start")


def _order() -> str:
    """The colours of the first frame to the last."""
    right, dots = 2 * SIZE - 40, np.linspace(0, 1, FRUSTUMS)
    circles = (
        f'<circle cx="{right - 9 * (FRUSTUMS - 1 - index)}" cy="{SIZE + 34}" r="3.5" fill="{_colour_of_time(share)}"/>'
        for index, share in enumerate(dots)
    )
    first = _text(right - 9 * FRUSTUMS, SIZE + 38, "first", anchor="end")
    return f"{first}{''.join(circles)}{_text(right + 8, SIZE + 38, 'last', anchor='start')}"


def _row(index: int, names: Sequence[str], scores: Float64[np.ndarray, " views"]) -> str:
    top = TOP + CELL * index
    name = shorten(f"{index + 1}  {names[index]}", LONGEST_LABEL)
    label = f"<g><title>{escape(names[index])}</title>{_text(10, top + CELL / 2 + 4, name, 12, INK, 'start')}</g>"
    cells = (
        _cell(LABELS + CELL * column, top, float(score), f"target {names[index]}, cached {names[column]}")
        for column, score in enumerate(scores)
    )
    return label + "".join(cells)


def _cell(left: int, top: int, score: float, what: str) -> str:
    ink = "#fff" if score > 0.55 else INK
    return (
        f"<g><title>{escape(what)}: {score:.2f}</title>"
        f'<rect x="{left}" y="{top}" width="{CELL - 2}" height="{CELL - 2}" rx="3" fill="{_colour_of_score(score)}"/>'
        f"{_text(left + CELL / 2 - 1, top + CELL / 2 + 4, f'{score:.2f}', 13, ink)}</g>"
    )


def _colour_scale(left: int) -> str:
    height, steps = 3 * CELL - 2, np.linspace(1, 0, 41)
    bands = (
        f'<rect x="{left}" y="{TOP + index * height / 40:.1f}" width="12" height="{height / 40 + 0.5:.1f}" '
        f'fill="{_colour_of_score(float(upper + lower) / 2)}"/>'
        for index, (upper, lower) in enumerate(pairwise(steps))
    )
    ticks = (
        _text(left + 18, TOP + 4 + height * (1 - score), f"{score:.1f}", anchor="start") for score in (0.0, 0.5, 1.0)
    )
    return "".join((*bands, *ticks))


def _colour_of_time(share: float) -> str:
    return f"hsl({230 - 230 * share:.0f} 75% 48%)"


def _colour_of_score(score: float) -> str:
    return f"hsl(212 65% {95 - 63 * score:.1f}%)"


def _points(points: Corners) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _text(x: float | int, y: float | int, text: str, size: int = 11, ink: str = SOFT, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" fill="{ink}">{escape(text)}</text>'
