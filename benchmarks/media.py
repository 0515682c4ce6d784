"""Decoding and encoding from file to file, against the ffmpeg command line that does the same in one process.

The metric is our frames a second in parts of ffmpeg's, side by side; the goal is 0.9, and the ceiling is about 1, as
the codecs are the same: both have the same filters, the same encoder with the same settings, and as many threads as
they like. What we pay for is that frames pass through Python, where a model can get at them. Ways:

- `rgb`: the whole picture in RGB, in and out, as for a source of the model's own size;
- `planes`: the whole picture in the source's own planes, as where a region or guided transfer is asked for;
- `model`: scaled to 832 x 480 and back, as where an edit is enlarged;
- `decode` and `encode`: the halves of `rgb`; ffmpeg throws frames away, and reads them from a file.

Clips are generated: a moving test chart with grain. Both ways must end in the very same pictures, which is checked.
Processor time, of all processes together, is told too: it says what a machine that is busy with other work hides.

    python benchmarks/media.py [--sizes 480p 1080p 2160p 1080p-10bit] [--json] [--write]
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.types import Span
from reporting import REPETITIONS, Figures, page, parser, publish, ratio, say, spread, table, take_turns, told
from storage.colour import from_planes, from_rgb, pixel_format, to_planes, to_rgb
from storage.colour_tags import Colour
from storage.encoding import codec_options, encode, encoded_colour
from storage.ffmpeg import find_ffmpeg
from storage.geometry import Fit, fit, whole
from storage.planes import layout_of, read_planes
from storage.probe import VideoInfo, probe
from storage.video import read_frames, write_planes, write_video

CODEC = "h264"
MODEL = (480, 832)  # lines and columns
GRAIN = 3  # levels
GOAL = 0.9
HALVES = ("decode", "encode")
WAYS = ("rgb", "planes", "model", *HALVES)


@dataclass(frozen=True)
class Clip:
    """A source to be made."""

    width: int
    height: int
    frames: int
    pixels: str = "yuv420p"


CLIPS = {
    "480p": Clip(854, 480, 120),
    "1080p": Clip(1920, 1080, 32),
    "2160p": Clip(3840, 2160, 12),
    "1080p-10bit": Clip(1920, 1080, 24, "yuv420p10le"),
}


def generate(clip: Clip, path: Path) -> VideoInfo:
    """Write a clip and probe it."""
    chart = f"testsrc2=size={clip.width}x{clip.height}:rate=24,noise=alls={GRAIN}:allf=t"
    source = ["-f", "lavfi", "-i", f"{chart},trim=end_frame={clip.frames}"]
    run_ffmpeg([*source, "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", clip.pixels, str(path)])
    return probe(path)


def run_ffmpeg(arguments: Sequence[str]) -> bytes:
    """Standard output of one ffmpeg."""
    command = [str(find_ffmpeg()), "-v", "error", "-nostdin", "-y", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


@dataclass(frozen=True)
class Bench:
    """One clip, and all ways with it: `ours` and `theirs` by way."""

    info: VideoInfo
    folder: Path

    @property
    def span(self) -> Span:
        return Span(0, self.info.frames)

    @property
    def ours(self) -> dict[str, Callable[[], object]]:
        """What the flows do."""
        return {
            "rgb": lambda: self._write_rgb(whole(self.info)),
            "planes": self._write_planes,
            "model": lambda: self._write_rgb(fit(self.info, *MODEL)),
            "decode": lambda: exhaust(read_frames(self.info, self.span, whole(self.info))),
            "encode": lambda: encode(self._raw(), self.info, whole(self.info), self.folder / "encoded.mov", CODEC),
        }

    @property
    def theirs(self) -> dict[str, Callable[[], object]]:
        """What ffmpeg's command line does."""
        info = self.info
        source = ["-i", str(info.path)]
        layout = layout_of(info)
        planes = [*to_planes(info, layout.pixels, tone_map=False), *from_planes(info, self._tags, self._pixels)]
        raw = ["-f", "rawvideo", "-pix_fmt", pixel_format(info.bit_depth), "-s", f"{info.width}x{info.height}"]
        stored = [*raw, "-r", str(info.rate), "-i", str(self.raw_path)]
        null = ["-f", "null", "-"]
        return {
            "rgb": lambda: self._transcode(source, [*self._to_rgb(whole(info)), *self._from_rgb]),
            "planes": lambda: self._transcode(source, planes),
            "model": lambda: self._transcode(source, [*self._to_rgb(fit(info, *MODEL)), *self._from_rgb]),
            "decode": lambda: run_ffmpeg([*source, "-vf", ",".join(self._to_rgb(whole(info))), *null]),
            "encode": lambda: self._transcode(stored, self._from_rgb),
        }

    @property
    def raw_path(self) -> Path:
        return self.folder / f"{self.info.path.stem}.raw"

    def store_raw(self) -> None:
        """Write the frames, uncompressed, for the two that encode alone."""
        with self.raw_path.open("wb") as file:
            for frame in read_frames(self.info, self.span, whole(self.info)):
                file.write(frame.data)

    @property
    def result(self) -> Path:
        return self.folder / "ours.mp4"

    @property
    def reference(self) -> Path:
        return self.folder / "theirs.mp4"

    @property
    def _tags(self) -> Colour:
        return encoded_colour(self.info, CODEC)

    @property
    def _pixels(self) -> str:
        return codec_options(CODEC, self.info)["pix_fmt"]

    def _to_rgb(self, at: Fit) -> list[str]:
        return to_rgb(self.info, at.inner.width, at.inner.height, tone_map=False)

    @property
    def _from_rgb(self) -> list[str]:
        return from_rgb(self.info, self._tags, self._pixels)

    def _write_rgb(self, at: Fit) -> None:
        write_video(read_frames(self.info, self.span, at), self.info, at, self.result, CODEC)

    def _write_planes(self) -> None:
        layout = layout_of(self.info)
        frames = read_planes(self.info, self.span, layout, tone_map=False)
        write_planes(frames, self.info, layout, self.result, CODEC)

    def _transcode(self, source: Sequence[str], filters: Sequence[str]) -> None:
        options = [word for name, value in codec_options(CODEC, self.info).items() for word in (f"-{name}", value)]
        run_ffmpeg([*source, "-vf", ",".join(filters), *options, str(self.reference)])

    def _raw(self) -> Iterator[np.ndarray]:
        dtype = np.uint8 if self.info.bit_depth == 8 else np.uint16
        shape = (self.info.frames, self.info.height, self.info.width, 3)
        return iter(np.memmap(self.raw_path, dtype, "r", shape=shape))


def exhaust(frames: Iterable[object]) -> None:
    """Take every frame, and keep none."""
    for _ in frames:
        pass


def pictures(path: Path) -> bytes:
    """A hash of all frames of a video."""
    return run_ffmpeg(["-i", str(path), "-map", "0:v", "-f", "hash", "-"])


def measure(clip: Clip, ways: Sequence[str] = WAYS, repetitions: int = REPETITIONS) -> Figures:
    """Our rate by way, in parts of ffmpeg's, both in frames a second, and our processor time in parts of ffmpeg's."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(generate(clip, Path(name) / "clip.mp4"), Path(name))
        if "encode" in ways:
            bench.store_raw()
        ours, theirs = bench.ours, bench.theirs
        for way in ways:
            figures[way] = compare(ours[way], theirs[way], clip.frames, repetitions)
            if way not in HALVES:
                figures[way]["same_pictures"] = pictures(bench.result) == pictures(bench.reference)
            say(f"{way}: {told(figures[way]['ratio'])} of ffmpeg's rate")
    return figures


def compare(ours: Callable[[], object], theirs: Callable[[], object], frames: int, repetitions: int) -> Figures:
    """One way."""
    spent: dict[str, list[float]] = {"ours": [], "ffmpeg": []}
    candidates = {"ours": accounted(ours, spent["ours"]), "ffmpeg": accounted(theirs, spent["ffmpeg"])}
    times = take_turns(candidates, repetitions)
    rates = {who: spread([frames / seconds for seconds in each]) for who, each in times.items()}
    processor = ratio(spent["ours"][-repetitions:], spent["ffmpeg"][-repetitions:])
    return {"ratio": ratio(times["ffmpeg"], times["ours"]), **rates, "processor": processor}


def accounted(run: Callable[[], object], spent: list[float]) -> Callable[[], object]:
    """The same work; processor seconds of this process and of those that it waited for are added to `spent`."""

    def accounted_run() -> None:
        before = sum(os.times()[:4])
        run()
        spent.append(sum(os.times()[:4]) - before)

    return accounted_run


def as_markdown(figures: Figures) -> str:
    """The page."""
    head = (
        "clip",
        "way",
        "ours / ffmpeg",
        "our frames a second",
        "ffmpeg's",
        "our processor time / ffmpeg's",
        "pictures",
    )
    goal = f"Medians of {REPETITIONS} runs by turns, in brackets the least and the most; the goal is {GOAL}."
    rows = [as_row(size, way, each) for size, ways in figures.items() for way, each in ways.items()]
    return page("From file to file", goal, table(head, rows))


def as_row(size: str, way: str, each: Figures) -> list[object]:
    """One way of one clip."""
    same = {True: "the same", False: "other", None: ""}[each.get("same_pictures")]
    rates = (each["ours"]["median"], each["ffmpeg"]["median"])
    return [size, way, told(each["ratio"]), *rates, told(each["processor"]), same]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", nargs="+", choices=CLIPS, default=list(CLIPS))
    options.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    chosen = options.parse_args()
    figures = {}
    for size in chosen.sizes:
        say(size)
        figures[size] = measure(CLIPS[size], chosen.ways)
    publish("media", figures, as_markdown(figures), chosen)


if __name__ == "__main__":
    main()
