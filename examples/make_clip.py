"""Make the two clips that come with the project, from seeds, with sound. No footage of others.

    python examples/make_clip.py circle examples/clip.mp4
    python examples/make_clip.py garden tests/garden.mp4

`circle`: a blue circle in a painted panorama; the camera pans away from it and comes back. It is of the world that
the demo model was trained on, from a seed that it never saw. `garden`: a red ball rolls through a garden and out of
it, a night street follows, and the ball comes back: three shots, for tests. In both, the end is where an editor without
a memory gives itself away.
"""

import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from model.config import WorldConfig
from storage.datasets.synthetic import imagine
from storage.datasets.synthetic import render as render_world

CIRCLE_SEED, CIRCLE_SIZE = 20012, 256
WIDTH, HEIGHT, RATE = 320, 180, 24
SHOTS = (("garden", 44, 0.0), ("street", 34, 0.0), ("garden", 50, 1.0))  # scene, frames, where in the scene it starts
SAMPLE_RATE = 48_000


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Noise `[height, width]` in [0, 1] with features about `cell` pixels wide."""
    coarse = rng.random((height // cell + 2, width // cell + 2)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def paint_scene(name: str, rng: np.random.Generator) -> np.ndarray:
    """A panorama `[HEIGHT, 2 * WIDTH, 3]`, RGB in [0, 1], that the camera pans over."""
    sky, ground = {
        "garden": ((0.55, 0.75, 0.95), (0.30, 0.55, 0.22)),
        "street": ((0.07, 0.08, 0.20), (0.22, 0.20, 0.24)),
    }[name]
    wide = 2 * WIDTH
    rows = np.linspace(0, 1, HEIGHT)[:, None, None]
    picture = np.where(rows < 0.62, np.array(sky) * (0.75 + 0.4 * rows), np.array(ground) * (0.6 + 0.5 * rows))
    picture = np.broadcast_to(picture, (HEIGHT, wide, 3)).astype(np.float32).copy()
    picture *= 0.85 + 0.3 * smooth_noise(rng, HEIGHT, wide, 9)[..., None]
    for _ in range(26):
        x, height = int(rng.integers(0, wide)), int(rng.integers(18, 60))
        base = int(HEIGHT * 0.62 + rng.integers(-4, 10))
        if name == "garden":
            leaf = tuple(float(v) for v in np.array((0.12, 0.38, 0.14)) * rng.uniform(0.7, 1.7))
            cv2.rectangle(picture, (x - 2, base - height // 2), (x + 2, base), (0.35, 0.24, 0.14), -1)
            cv2.circle(picture, (x, base - height // 2), height // 3, leaf, -1, cv2.LINE_AA)
        else:
            wall = tuple(float(v) for v in np.array((0.16, 0.15, 0.24)) * rng.uniform(0.8, 1.6))
            cv2.rectangle(picture, (x - 16, base - 2 * height), (x + 16, base), wall, -1)
            for row in range(base - 2 * height + 5, base - 6, 11):
                for column in range(x - 11, x + 10, 9):
                    if rng.random() < 0.45:
                        cv2.rectangle(picture, (column, row), (column + 3, row + 4), (0.95, 0.82, 0.45), -1)
    return picture.clip(0, 1)


def draw_ball(picture: np.ndarray, x: float, y: float, turn: float) -> None:
    """A red ball with a white stripe, rolled by `turn` radians, drawn into `picture`."""
    centre, radius = (round(x * 16), round(y * 16)), 17
    cv2.ellipse(picture, (round(x), round(y) + 16), (17, 4), 0, 0, 360, (0.10, 0.14, 0.08), -1, cv2.LINE_AA)
    cv2.circle(picture, centre, radius * 16, (0.83, 0.13, 0.11), -1, cv2.LINE_AA, shift=4)
    cv2.ellipse(picture, (round(x), round(y)), (16, 5), np.degrees(turn), 0, 360, (0.97, 0.95, 0.92), 2, cv2.LINE_AA)
    cv2.circle(picture, (round(x - 6), round(y - 7)), 4, (1.0, 0.75, 0.70), -1, cv2.LINE_AA)


def circle() -> list[np.ndarray]:
    """110 frames, uint8 `[CIRCLE_SIZE, CIRCLE_SIZE, 3]`."""
    world = imagine(WorldConfig(segments=22, segment_frames=5, least_shown=3, least_gap=3), CIRCLE_SEED)
    return list(render_world(world, CIRCLE_SIZE).source)


def garden() -> list[np.ndarray]:
    """All frames, uint8 `[HEIGHT, WIDTH, 3]`."""
    rng = np.random.default_rng(7)
    scenes = {name: paint_scene(name, rng) for name in ("garden", "street")}
    frames = []
    for name, count, start in SHOTS:
        for index in range(count):
            progress = index / count
            left = round((0.35 + 0.5 * (progress if start == 0 else 1 - progress)) * WIDTH)
            picture = scenes[name][:, left : left + WIDTH].copy()
            if name == "garden":
                x = WIDTH * (0.2 + 1.1 * progress if start == 0 else 1.1 - 0.8 * progress)
                draw_ball(picture, x, HEIGHT * 0.74 - 5 * abs(np.sin(6 * progress)), 7 * progress)
            frames.append((picture.clip(0, 1) * 255).round().astype(np.uint8))
    return frames


def compose(seconds: float) -> np.ndarray:
    """A quiet chord that swells, float32 `[2, samples]` in [-1, 1]."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    swell = 0.10 * np.sin(np.pi * time / seconds)
    voices = [np.sin(2 * np.pi * pitch * time + phase) for phase, pitch in enumerate((196.0, 246.9, 293.7, 392.0))]
    left, right = swell * (voices[0] + voices[2]), swell * (voices[1] + voices[3])
    return np.stack([left, right]).astype(np.float32)


def write_clip(frames: list[np.ndarray], path: Path) -> None:
    """H.264 and AAC in MP4."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "slow"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, RATE)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        sound = compose(len(frames) / RATE)
        for start in range(0, sound.shape[1], 1024):
            chunk = np.ascontiguousarray(sound[:, start : start + 1024])
            block = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="stereo")
            block.sample_rate, block.pts = SAMPLE_RATE, start
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


if __name__ == "__main__":
    write_clip({"circle": circle, "garden": garden}[sys.argv[1]](), Path(sys.argv[2]))
