"""A small world where the truth is known: textured panoramas with shapes in them, seen by a camera that comes back.

A clip is a number of segments. Its subject, a shape that occurs once, is in view in some of them, and out of view for
at least one whole segment in between: the camera pans away and back, cuts to another scene and back, or the shape walks
out and in again; some pans come back before it is wholly gone. An edit changes the subject alone, as a text says.
Where the text leaves the result open, only a memory of earlier segments can keep it.

Everything follows from a seed. Lengths are in views: 1 is the width of the picture, whatever its size in pixels.
Pictures are drawn analytically at any subpixel place, so masks are exact. The scene is a plane at distance 1 before a
camera that moves parallel to it, with a focal length of one view: poses are exact too. Knows nothing of latents, models
or training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from model.camera.trajectory import Trajectory
from model.config import WorldConfig
from storage.datasets.clip import EditedClip, Frames, Mask
from storage.datasets.shapes import (
    BRIM,
    HAT_HEIGHT,
    HAT_WIDTH,
    KINDS,
    MARKINGS,
    OUTLINES,
    OWN_HUES,
    STRIPE,
    Field,
    Kind,
    coverage,
)
from storage.datasets.wording import Wording, hue_of, phrase

Story = Literal["pan", "cut", "walk"]
Offsets = Float[np.ndarray, "frame 2"]

STORIES: tuple[Story, ...] = ("pan", "cut", "walk")
SPACING = 1.1  # views between the places of a scene: what stands at one cannot be seen from the next
PAN_SPEED = 1 / 16  # views a frame between places
TRAVEL = 0.9  # views until most things are out of sight
DRIFT = 1 / 32  # views that the camera, and each thing, sways


@dataclass(frozen=True)
class Thing:
    """A shape that stands at `place` (x, y) in its scene and sways a little. `colour` is RGB in [0, 1]."""

    shape: str
    scene: int
    place: tuple[float, float]
    radius: float
    colour: tuple[float, float, float]
    phase: float


@dataclass(frozen=True)
class Change:
    """What an edit does to the subject: paints it, stripes it, or gives it a hat, in the colour of `hue` degrees."""

    kind: Kind
    hue: float
    instruction: str
    named: bool


@dataclass(frozen=True)
class World:
    """All there is in one clip. `subject` is the thing that is changed, one of `things`.

    Backgrounds follow from `seed` and `wording`. `scenes` and `camera` give for every frame the scene shown and the top
    left corner of the view in it; `walk` is how far the subject is from its place, in x.
    """

    id: str
    seed: int
    wording: Wording
    story: Story
    things: tuple[Thing, ...]
    subject: int
    change: Change
    scenes: tuple[int, ...]
    camera: Offsets
    walk: Float[np.ndarray, " frame"]

    @property
    def frames(self) -> int:
        return len(self.scenes)


@dataclass(frozen=True)
class RenderedWorld:
    """A world in pictures: before, and after the edit in each colour asked for.

    `masks` are by thing; `changed` are the pixels that the edit may change: the subject, its stripes, or its hat.
    """

    world: World
    source: Frames
    edited: tuple[Frames, ...]
    masks: tuple[Mask, ...]
    changed: Mask
    poses: Trajectory


def imagine(config: WorldConfig, seed: int, wording: Wording = "training") -> World:
    """The world of a seed. Held-out `wording` has phrases, pairs of shape and colour, and a shape never trained on."""
    random = np.random.default_rng([seed, 7 if wording == "training" else 11])
    story = STORIES[int(random.integers(len(STORIES)))]
    frames = config.segments * config.segment_frames
    scenes, stops = _itinerary(story, config, random)
    camera = _camera(stops, config, random)
    things = _furnish(story, config, random, wording)
    change = _decide(things[0], random, wording)
    walk = np.zeros(frames)
    if story == "walk":
        walk, camera = _walk(stops, things[0]), _camera(np.zeros(frames), config, random)
    return World(f"world-{wording}-{seed}", seed, wording, story, things, 0, change, tuple(scenes), camera, walk)


def render(world: World, size: int, hues: Sequence[float] = ()) -> RenderedWorld:
    """Draw a world at `size` x `size` pixels, edited in its own colour and then in each of `hues`, in degrees."""
    source = _panoramas(world, size)
    masks = []
    for index, thing in enumerate(world.things):
        x, y = _around(thing, world, size, index == world.subject)
        present = _in_scene(thing, world)
        inside = coverage(OUTLINES[thing.shape](x, y, thing.radius), size) * present
        masks.append(inside > 0.5)
        _paint(source, inside, thing.colour)
        colour, marking = MARKINGS[thing.shape]
        _paint(source, coverage(marking(x, y, thing.radius), size) * present, colour)
    subject = world.things[world.subject]
    x, y = _around(subject, world, size, True)
    touched = _touched(world.change.kind, x, y, subject, size) * _in_scene(subject, world)
    edited = tuple(_paint(source.copy(), touched, colour_of(hue)) for hue in (world.change.hue, *hues))
    poses = _poses(world.camera)
    pictures = tuple(map(_quantise, edited))
    return RenderedWorld(world, _quantise(source), pictures, tuple(masks), touched > 0.5, poses)


def training_clip(config: WorldConfig, seed: int, wording: Wording = "training") -> EditedClip:
    """The clip of a seed, in two versions. The pixels of all things, and of a hat, weigh more."""
    world = imagine(config, seed, wording)
    other = np.random.default_rng([seed, 5]).uniform(50, 310)
    rendered = render(world, config.size, [(world.change.hue + other) % 360])
    regions = np.logical_or.reduce([*rendered.masks, rendered.changed])
    change = world.change
    return EditedClip(world.id, change.instruction, change.named, rendered.source, rendered.edited, regions)


def colour_of(hue: float, saturation: float = 0.85, value: float = 0.9) -> tuple[float, float, float]:
    """RGB in [0, 1] of a hue in degrees."""
    ramp = [abs((hue / 60 + shift) % 6 - 3) - 1 for shift in (0, 4, 2)]
    red, green, blue = (value * (1 - saturation * (1 - min(max(each, 0), 1))) for each in ramp)
    return red, green, blue


def _itinerary(story: Story, config: WorldConfig, random: np.random.Generator) -> tuple[list[int], np.ndarray]:
    """Scene by frame, and the number of the place where the camera, or the subject, is to be: 0 where they meet.

    The camera, or the subject, spends part of the time that the subject is away on the way out and back.
    """
    count, length = config.segments, config.segment_frames
    travel = 0 if story == "cut" else round(2 * TRAVEL / PAN_SPEED / length)
    most = count - config.least_shown - 1  # it comes back, whatever gap is asked for
    away = int(random.integers(min(config.least_gap + travel, most), most + 1))
    start = int(random.integers(config.least_shown, count - away))
    absent = np.zeros(count, int)
    absent[start : start + away] = 1 + (random.random() < 0.5)
    by_frame = np.repeat(absent, length)
    if story == "cut":
        return np.minimum(by_frame, 1).tolist(), np.zeros(len(by_frame))
    return [0] * len(by_frame), by_frame.astype(float)


def _camera(stops: np.ndarray, config: WorldConfig, random: np.random.Generator) -> Offsets:
    """The view's corner by frame: at most `PAN_SPEED` between stops, swaying while it dwells."""
    x = _limited(stops * SPACING, PAN_SPEED)
    time = np.arange(len(stops)) / (config.segment_frames * 3)
    sway = [DRIFT * np.sin(2 * np.pi * (time + random.random())) for _ in range(2)]
    return np.stack([x + sway[0], sway[1]], axis=1)


def _walk(stops: np.ndarray, subject: Thing) -> np.ndarray:
    """How far the subject has walked from its place: out on the side nearest to it, and back."""
    away = _limited((stops > 0) * 1.2, PAN_SPEED)
    return away if subject.place[0] > 0.5 else -away


def _limited(wanted: np.ndarray, speed: float) -> np.ndarray:
    """`wanted` with ramps of `speed` a frame inside it: off late, and back early enough to be there in time."""
    leaving, returning = wanted.copy(), wanted.copy()
    for index in range(1, len(wanted)):
        leaving[index] = min(wanted[index], leaving[index - 1] + speed)
        returning[-index - 1] = min(wanted[-index - 1], returning[-index] + speed)
    return np.minimum(leaving, returning)


def _furnish(story: Story, config: WorldConfig, random: np.random.Generator, wording: Wording) -> tuple[Thing, ...]:
    """The subject at the first place of scene 0, often with company, and other shapes elsewhere."""
    low, high = config.radius
    names = [str(name) for name in random.permutation(["circle", "square", "triangle", "cross"])]
    if wording == "held-out" and random.random() < 0.3:
        names[1] = "diamond"
    spots = [(0, 0.0)] * (1 + (random.random() < 0.75))
    spots += [(1, 0.0)] if story == "cut" else [(0, 1.0), (0, 2.0)]
    sides = [0.3, 0.72] if random.random() < 0.5 else [0.72, 0.3]
    things = []
    for name, (scene, stop) in zip(names, spots, strict=False):
        side = sides[len(things)] if stop == 0.0 and scene == 0 else random.uniform(0.35, 0.65)
        place = (stop * SPACING + side, random.uniform(0.45, 0.68))
        colour = colour_of(
            OWN_HUES[name] + random.uniform(-12, 12), random.uniform(0.5, 0.9), random.uniform(0.3, 0.55)
        )
        radius = random.uniform(low, high)
        things.append(Thing(name, scene, place, radius, colour, random.uniform(0, 2 * np.pi)))
    return tuple(things)


def _decide(subject: Thing, random: np.random.Generator, wording: Wording) -> Change:
    """Draw an edit of the subject whose colour it does not have already."""
    kind = KINDS[int(random.integers(len(KINDS)))]
    named = bool(random.random() < 0.4)
    text, name = phrase(subject.shape, kind, named, random, wording)
    own = hue_of(subject.colour)
    hue = name if name is not None else (own + random.uniform(50, 310)) % 360
    return Change(kind, float(hue), text, named)


def _around(thing: Thing, world: World, size: int, walks: bool) -> tuple[Field, Field]:
    """Coordinates of all pixels, in views, from the middle of a thing in each frame; in a form that broadcasts."""
    time = np.arange(world.frames) / 24
    sway_x, sway_y = (DRIFT * np.sin(rate * time + thing.phase) for rate in (1.7, 2.3))
    middle_x = thing.place[0] + sway_x + (world.walk if walks else 0) - world.camera[:, 0]
    middle_y = thing.place[1] + sway_y - world.camera[:, 1]
    pixel = (np.arange(size) + 0.5) / size
    x = (pixel - middle_x[:, None])[:, None, :]
    y = (pixel - middle_y[:, None])[:, :, None]
    return x.astype(np.float32), y.astype(np.float32)


def _in_scene(thing: Thing, world: World) -> Field:
    return (np.asarray(world.scenes) == thing.scene)[:, None, None].astype(np.float32)


def _touched(kind: Kind, x: Field, y: Field, thing: Thing, size: int) -> Field:
    """How much of each pixel an edit covers; what is marked on a thing stays."""
    inside = coverage(OUTLINES[thing.shape](x, y, thing.radius), size)
    inside = inside * (1 - coverage(MARKINGS[thing.shape][1](x, y, thing.radius), size))
    if kind == "colour":
        return inside
    if kind == "stripes":
        return inside * coverage(np.abs((y + STRIPE) % (2 * STRIPE) - STRIPE) - STRIPE / 2, size)
    width, height = HAT_WIDTH * thing.radius / 2, HAT_HEIGHT * thing.radius
    brim = np.maximum(np.abs(x) - width, np.abs(y + thing.radius) - BRIM / 2)
    crown = np.maximum(np.abs(x) - 0.6 * width, np.abs(y + thing.radius + height / 2) - height / 2)
    return coverage(np.minimum(brim, crown), size)


def _paint(picture: np.ndarray, amount: Field, colour: tuple[float, float, float]) -> np.ndarray:
    touched = np.flatnonzero(amount.any(axis=(0, 2)))
    if touched.size:
        rows = slice(touched[0], touched[-1] + 1)
        part = picture[:, rows]
        part += amount[:, rows, :, None] * (np.asarray(colour, np.float32) - part)
    return picture


def _panoramas(world: World, size: int) -> np.ndarray:
    """What the camera sees behind all things, `[frame, height, width, 3]` float32."""
    scenes, kept_apart = np.asarray(world.scenes), 0 if world.wording == "training" else 13
    picture = np.empty((world.frames, size, size, 3), np.float32)
    for scene in np.unique(scenes):
        picture[scenes == scene] = _panorama([world.seed, int(scene), kept_apart], world.camera[scenes == scene], size)
    return picture


def _panorama(seed: Sequence[int], corners: Offsets, size: int) -> np.ndarray:
    """A static texture without end, `[frame, height, width, 3]`: broad areas of colour, and finer waves on them.

    Waves are sines of a sum, taken apart into products, which are cheap to evaluate on a grid.
    """
    random = np.random.default_rng(seed)
    base = random.uniform(0.35, 0.65, 3)
    periods = np.concatenate([random.uniform(60, 150, 3), random.uniform(12, 28, 3)]) / 64
    strengths = np.concatenate([random.uniform(0.06, 0.14, 3), random.uniform(0.02, 0.05, 3)])
    colours = strengths[:, None] * random.uniform(-1, 1, (6, 3))
    angle, phase = random.uniform(0, 2 * np.pi, (2, 6))
    pixel = (np.arange(size) + 0.5) / size
    x, y = ((corners[:, axis, None] + pixel)[..., None] * 2 * np.pi / periods for axis in (0, 1))
    along_x, along_y = x * np.cos(angle) + phase, y * np.sin(angle)
    across = np.concatenate([np.sin(along_x), np.cos(along_x)], axis=-1).astype(np.float32)
    down = np.concatenate([np.cos(along_y), np.sin(along_y)], axis=-1)
    weighted = (down[:, :, None, :] * np.tile(colours, (2, 1)).T).astype(np.float32)
    waves = weighted.reshape(len(corners), -1, 12) @ across.transpose(0, 2, 1)
    return waves.reshape(-1, size, 3, size).transpose(0, 1, 3, 2) + base.astype(np.float32)


def _poses(camera: Offsets) -> Trajectory:
    """Camera-to-world poses, in units of the scene's distance; the first is the origin."""
    rows = np.zeros((len(camera), 3, 4))
    rows[:, :, :3] = np.eye(3)
    rows[:, :2, 3] = camera
    return Trajectory.from_rows(rows).from_first()


def _quantise(picture: np.ndarray) -> Frames:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def shown_segments(mask: Mask, segment_frames: int) -> list[float]:
    """By segment, the mean number of pixels of a mask in a frame."""
    return mask.reshape(-1, segment_frames, *mask.shape[1:]).sum(axis=(2, 3)).mean(axis=1).tolist()
