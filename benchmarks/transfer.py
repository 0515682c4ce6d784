"""How true an edit made at the model's size is at 1080p: carried over by its colours (guided), and enlarged.

The metric is PSNR against the same look applied to the source at full size. Looks are made at 480x270, of a mosaic of
real footage at its own resolution and of generated texture; also with the loss of a video codec of some 32 dB, which
guided transfer takes away and enlarging keeps. Targets: at least 32 dB, and 6 dB more than enlarging.

    python benchmarks/transfer.py [--json] [--write]
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from model.transfer import enlarge, fit_change
from model.types import Span
from reporting import Figures, page, parser, publish, table
from storage.geometry import whole
from storage.probe import probe
from storage.video import read_frames
from tests.footage import fetch_footage

HEIGHT, WIDTH, MODEL = 1080, 1920, (480, 270)
LOSS = 0.025  # rms of what the codec adds
TO_PLANES = np.array([[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]], np.float32)
GREY = np.array([0, 0.5, 0.5], np.float32)
Picture = np.ndarray


def sepia(picture: Picture) -> Picture:
    matrix = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)
    return (picture @ matrix.T).clip(0, 1)


def night(picture: Picture) -> Picture:
    return (picture**1.6 * np.float32([0.35, 0.45, 0.8]) + np.float32([0, 0.01, 0.03])).clip(0, 1)


def hue_shift(picture: Picture, degrees: float = 70) -> Picture:
    """A turn around the grey axis."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees)) / np.sqrt(3)
    even = (1 - cosine) / 3
    matrix = np.eye(3) * cosine + even + sine * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return (picture @ matrix.T.astype(np.float32)).clip(0, 1)


def contrast_and_vignette(picture: Picture) -> Picture:
    rows, columns = (np.linspace(-0.5, 0.5, side, dtype=np.float32) for side in picture.shape[:2])
    centre = 1 - 1.1 * (rows[:, None, None] ** 2 + columns[None, :, None] ** 2)
    return (picture**2 * (3 - 2 * picture) * centre).clip(0, 1)


LOOKS: dict[str, Callable[[Picture], Picture]] = {
    look.__name__.replace("_", " "): look for look in (sepia, night, hue_shift, contrast_and_vignette)
}


def mosaic() -> Picture:
    """Frames of two clips side by side, none of them scaled."""
    folder = fetch_footage()
    large, small = (_frames(folder / name, 4) for name in ("bigbuckbunny.mp4", "bikes.mp4"))
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:720, :1280], picture[:720, 1280:] = large[0], large[1][:, :640]
    picture[720:992] = np.concatenate(small[:3], axis=1)
    picture[992:] = np.concatenate([large[2][300:388], small[3][:88]], axis=1)
    return picture.astype(np.float32) / 255


def texture() -> Picture:
    """Noise of all sizes, down to single pixels."""
    chance = np.random.default_rng(0)
    layers = [
        size**0.7 * cv2.resize(chance.random((HEIGHT // size + 1, WIDTH // size + 1, 3)), (WIDTH, HEIGHT))
        for size in (1, 2, 4, 8, 32, 128)
    ]
    picture = sum(layers)
    return (0.5 + 0.18 * (picture - picture.mean()) / picture.std()).clip(0, 1).astype(np.float32)


def _frames(path: Path, count: int) -> list[Picture]:
    info = probe(path)
    step = info.frames // count
    frames = enumerate(read_frames(info, Span(0, info.frames), whole(info)))
    return [frame for number, frame in frames if number % step == 0]


def coded(picture: Picture, loss: float) -> Picture:
    """In eight bits, and as a codec leaves it: with blotches of about two pixels."""
    noise = cv2.GaussianBlur(np.random.default_rng(1).normal(size=picture.shape), (0, 0), 0.8)
    made = picture + loss * noise / noise.std()
    return (made * 255).round().clip(0, 255).astype(np.float32) / 255


def to_planes(picture: Picture) -> Picture:
    return picture @ TO_PLANES.T + GREY


def psnr(made: Sequence[Picture], wanted: Picture) -> float:
    rgb = ((np.dstack(made) - GREY) @ np.linalg.inv(TO_PLANES).T).clip(0, 1)
    return float(-10 * np.log10(np.mean((rgb - wanted) ** 2)))


def measure(source: Picture, look: Callable[[Picture], Picture], loss: float) -> dict[str, float]:
    """PSNR of both ways in dB, and the share that no change of colours explained."""
    small = cv2.resize(source, MODEL, interpolation=cv2.INTER_AREA)
    edit, wanted = to_planes(coded(look(small), loss)), look(source)
    change = fit_change(to_planes(small), edit)
    guided = psnr(change.apply(cv2.split(to_planes(source)), edit), wanted)
    upscaled = psnr(enlarge(edit, [source.shape[:2]] * 3), wanted)
    return {
        "guided_db": round(guided, 1),
        "upscale_db": round(upscaled, 1),
        "unexplained": round(float(change.unexplained.mean()), 4),
    }


def milliseconds(source: Picture, rounds: int = 9) -> dict[str, float]:
    """The least processor time of one frame on one thread, in planes of 4:2:0 as most video has them."""
    luma, *chroma = cv2.split(to_planes(source))
    guide = (luma, *(np.ascontiguousarray(plane[::2, ::2]) for plane in chroma))
    small = to_planes(cv2.resize(source, MODEL, interpolation=cv2.INTER_AREA))
    edit = to_planes(night(cv2.resize(source, MODEL, interpolation=cv2.INTER_AREA)))
    ways = {
        "guided": lambda: fit_change(small, edit).apply(guide, edit),
        "upscale": lambda: enlarge(edit, [plane.shape for plane in guide]),
    }
    cv2.setNumThreads(1)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.thread_time()
            way()
            times[name].append(1000 * (time.thread_time() - started))
    return {name: round(min(each), 1) for name, each in times.items()}


def measure_all() -> Figures:
    """All figures."""
    sources = {"footage": mosaic(), "texture": texture()}
    looks = [
        {"source": source, "look": look, "loss": loss, **measure(picture, make, loss)}
        for source, picture in sources.items()
        for loss in (0.0, LOSS)
        for look, make in LOOKS.items()
    ]
    return {
        "looks": looks,
        "least_guided_db": min(each["guided_db"] for each in looks),
        "least_gain_db": round(min(each["guided_db"] - each["upscale_db"] for each in looks), 1),
        "ms_a_frame": milliseconds(sources["footage"]),
    }


def as_markdown(figures: Figures) -> str:
    """The page."""
    names = ("source", "look", "loss", "guided_db", "upscale_db", "unexplained")
    rows = [[each[name] for name in names] for each in figures["looks"]]
    times = ", ".join(f"{name} {each} ms" for name, each in figures["ms_a_frame"].items())
    return page(
        f"Looks made at {MODEL[0]}x{MODEL[1]}, at {WIDTH}x{HEIGHT}",
        table([name.replace("_db", ", dB") for name in names], rows),
        f"Least: {figures['least_guided_db']} dB guided, {figures['least_gain_db']} dB above upscale.",
        f"A frame of 1080p in 4:2:0, least processor time of several: {times}; OpenCV {cv2.__version__}.",
    )


def main() -> None:
    options = parser(__doc__).parse_args()
    figures = measure_all()
    publish("transfer", figures, as_markdown(figures), options)


if __name__ == "__main__":
    main()
