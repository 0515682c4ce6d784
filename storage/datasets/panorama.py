"""A world seen by a camera that turns: a textured sphere at infinity, with discs that stand or move before it.

What lies beside the user's view is not to be seen in the user's video, so a model must invent it; here it is known. All
that a picture shows follows from the direction in which a pixel looks and from the number of the frame: what two
cameras see of the same directions, in the same frame, is the same. Moving a camera changes nothing, only turning does.

Everything follows from a seed. Axes are OpenCV's (x right, y down, z forward); angles are radians unless they say
otherwise. Knows nothing of latents, models or training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from model.camera.projection import Intrinsics, rays
from model.camera.trajectory import Trajectory, pitch, yaw
from model.config import WorldConfig
from storage.datasets.clip import EditedClip, Frames
from storage.datasets.wording import Wording

Directions = Float32[np.ndarray, "*pixel 3"]

WAVES = (5, 4)  # broad ones, and finer ones on them
PERIODS = ((50.0, 130.0), (16.0, 34.0))  # degrees
STRENGTHS = ((0.08, 0.18), (0.03, 0.06))
DISCS = (3, 6)  # standing ones, at least and at most
SPREAD = 75.0  # degrees to either side of the first camera in which discs stand
RADII = (3.0, 7.0)  # degrees
SPEED = 1.5  # degrees a frame that the moving disc goes, at most
LENS = 53.0  # degrees: field of view of every camera here

STARTS = 50.0  # degrees to either side in which a training turn may begin
PANS, TILTS = 3.5, 1.0  # degrees a frame, at most
FARTHEST = (75.0, 20.0)  # degrees of yaw and pitch
LONGEST_TURN = 4  # segments


@dataclass(frozen=True)
class Disc:
    """A spot of one colour, `radius` wide, at a yaw and a pitch in degrees; its yaw grows by `speed` a frame."""

    yaw: float
    pitch: float
    radius: float
    colour: tuple[float, float, float]
    speed: float


@dataclass(frozen=True)
class Panorama:
    """All there is to see. A wave has a vector (radians of phase by direction), a phase and a colour."""

    seed: int
    base: tuple[float, float, float]
    vectors: Float32[np.ndarray, "wave 3"]
    phases: Float32[np.ndarray, " wave"]
    colours: Float32[np.ndarray, "wave 3"]
    discs: tuple[Disc, ...]


def imagine_panorama(seed: int, held_out: bool = False) -> Panorama:
    """The panorama of a seed; held-out ones share no seed with those of training."""
    random = np.random.default_rng([seed, 29 if held_out else 23])
    periods, strengths = (
        np.concatenate([random.uniform(*ends, count) for ends, count in zip(bounds, WAVES, strict=True)])
        for bounds in (PERIODS, STRENGTHS)
    )
    axes = random.normal(size=(sum(WAVES), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    colours = strengths[:, None] * random.uniform(-1, 1, (len(axes), 3))
    standing = [_draw_disc(random, 0.0) for _ in range(int(random.integers(*DISCS, endpoint=True)))]
    moving = _draw_disc(random, float(random.uniform(-SPEED, SPEED)), spread=20.0)
    return Panorama(
        seed=seed,
        base=_triple(random.uniform(0.35, 0.65, 3)),
        vectors=(axes * (360 / periods)[:, None]).astype(np.float32),
        phases=random.uniform(0, 2 * np.pi, len(axes)).astype(np.float32),
        colours=colours.astype(np.float32),
        discs=(*standing, moving),
    )


def render_panorama(world: Panorama, trajectory: Trajectory, lens: Intrinsics, first_frame: int = 0) -> Frames:
    """What a camera sees along a trajectory whose first pose is the world's frame `first_frame`."""
    looks = look_directions(trajectory, lens)
    picture = np.sin(looks @ world.vectors.T + world.phases) @ world.colours + np.asarray(world.base, np.float32)
    numbers = first_frame + np.arange(len(trajectory))
    for disc in world.discs:
        _paint_disc(picture, disc, looks, numbers, lens)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def panorama_clip(config: WorldConfig, seed: int, wording: Wording = "training") -> EditedClip:
    """The clip of a seed: turns over one user's video, each a camera that pans or rests, one after the other.

    A segment's source is the user's video in the same frames; its camera rests where all trajectories are relative to.
    """
    world = imagine_panorama(seed, wording == "held-out")
    random = np.random.default_rng([seed, 31])
    lens, length = view_lens(config.size), config.segment_frames
    still = Trajectory.still(length)
    source, views, cameras = [], [], []
    while len(views) < config.segments:
        segments = min(int(random.integers(1, LONGEST_TURN, endpoint=True)), config.segments - len(views))
        turn = _draw_turn(random, segments * length)
        for first in range(0, len(turn), length):
            part = Trajectory(turn.poses[first : first + length])
            source.append(render_panorama(world, still, lens, first))
            views.append(render_panorama(world, part, lens, first))
            cameras.append(part.latent_rows())
    pictures, seen = np.concatenate(source), np.concatenate(views)
    nothing = np.zeros(pictures.shape[:3], bool)
    return EditedClip(f"panorama-{wording}-{seed}", "", False, pictures, (seen,), nothing, np.stack(cameras))


def view_lens(size: int) -> Intrinsics:
    """The lens of every camera here, for square pictures."""
    return Intrinsics.from_angle(LENS, size, size)


def turned(right: Float[np.ndarray, " frames"], up: Float[np.ndarray, " frames"]) -> Trajectory:
    """A camera that turns to the right and then up, in degrees."""
    rotation = yaw(np.radians(right)) @ pitch(np.radians(up))
    return Trajectory.from_rows(np.concatenate([rotation, np.zeros((len(right), 3, 1))], axis=2))


def look_directions(trajectory: Trajectory, lens: Intrinsics) -> Float32[np.ndarray, "frame height width 3"]:
    """Unit vectors, in the world, in which the middles of all pixels look."""
    rotations = trajectory.poses[:, None, :3, :3].transpose(0, 1, 3, 2).astype(np.float32)
    return rays(lens).astype(np.float32) @ rotations


def _draw_turn(random: np.random.Generator, frames: int) -> Trajectory:
    """A pan, with or without a tilt, from the user's first camera or from elsewhere; a quarter of them rest."""
    moves, tilts = random.random() < 0.75, random.random() < 0.4
    start = random.uniform(-STARTS, STARTS) * (random.random() < 0.5)
    right = start + random.uniform(-PANS, PANS) * moves * np.arange(frames)
    up = random.uniform(-TILTS, TILTS) * tilts * np.arange(frames)
    return turned(*(np.clip(angle, -most, most) for angle, most in zip((right, up), FARTHEST, strict=True)))


def _draw_disc(random: np.random.Generator, speed: float, spread: float = SPREAD) -> Disc:
    right, up = random.uniform(-spread, spread), random.uniform(-18, 18)
    return Disc(float(right), float(up), float(random.uniform(*RADII)), _triple(random.uniform(0.05, 0.95, 3)), speed)


def _paint_disc(
    picture: Float[np.ndarray, "frame height width 3"],
    disc: Disc,
    looks: Float32[np.ndarray, "frame height width 3"],
    numbers: np.ndarray,
    lens: Intrinsics,
) -> None:
    """Onto the picture, with a rim one pixel soft."""
    right, up = np.radians(disc.yaw + disc.speed * numbers), np.radians(disc.pitch)
    middle = np.stack([np.sin(right) * np.cos(up), np.full(len(right), -np.sin(up)), np.cos(right) * np.cos(up)], -1)
    cosine = (looks @ middle.astype(np.float32)[:, None, :, None])[..., 0]
    near = cosine > np.cos(np.radians(disc.radius) + 1 / lens.fx)
    angle = np.arccos(np.minimum(cosine[near], 1))
    inside = np.clip(0.5 - (angle - np.radians(disc.radius)) * lens.fx, 0, 1)[:, None]
    picture[near] += inside * (np.asarray(disc.colour, np.float32) - picture[near])


def _triple(numbers: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue
