"""How fast the pages open: the review page of a long video, and the page of a large catalog, from disk in Chromium.

The metric is the time from the click until the page is painted and can be used; the ceiling is 2 s. Scrolling is
measured from top to bottom, by the time between two frames, of which a calm machine makes 60 a second. Pictures are as
hard to compress as photographs. Needs Chromium, which is driven over its own protocol.

    python benchmarks/review_page.py [--segments 500] [--videos 1000] [--runs 5] [--json] [--write]
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path, PurePath
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from model.segments import plan_segments
from model.shots import shots_from_cuts
from model.types import Merge, Recall, Segment
from reporting import Figures, parser, publish, table
from reporting import page as dated_page
from storage.catalog_page import write_catalog_page
from storage.ffmpeg import find_ffmpeg
from storage.page import thumbnail
from storage.review import (
    POSTER,
    Replay,
    Review,
    ReviewSegment,
    ReviewVideos,
    ShownScores,
    Turn,
    write_review,
)
from storage.store import review_folder
from storage.video_states import VideoState

WINDOW, OVERLAP, RATE, SHOT = 21, 4, 25, 400  # frames, but for the rate
MEMORIES = 5
START_SECONDS = 120.0
OPENED = """(async () => {
  while (document.readyState !== "complete" || !performance.getEntriesByName("first-contentful-paint").length)
    await new Promise((resolve) => setTimeout(resolve, 10));
  const [page] = performance.getEntriesByType("navigation");
  return [page.domContentLoadedEventEnd, performance.getEntriesByName("first-contentful-paint")[0].startTime];
})()"""
SCROLLED = """(async () => {
  const waits = [], frame = () => new Promise(requestAnimationFrame);
  const height = document.body.scrollHeight;
  let last = await frame();
  for (let top = 0; top < height && waits.length < 150; top += 300) {
    scrollTo(0, top);
    const now = await frame();
    waits.push(now - last);
    last = now;
  }
  return waits;
})()"""


class Browser:
    """A page of a headless Chromium, driven over its protocol."""

    def __init__(self, socket: Connection) -> None:
        self._socket, self._number = socket, 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=START_SECONDS))
            if answer.get("id") == self._number:
                return answer["result"]

    def run(self, script: str) -> Any:
        """The value of a script on the page."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return done["result"]["value"]

    def counts(self) -> dict[str, float]:
        """What the renderer counts."""
        return {one["name"]: one["value"] for one in self.call("Performance.getMetrics")["metrics"]}


@contextmanager
def browser() -> Iterator[Browser]:
    """A fresh Chromium, ended afterwards."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium on this machine; install it, for example: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
        command = [program, *options, "--window-size=1440,900", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = read_port(Path(profile) / "DevToolsActivePort")
            with connect(page_of(port), max_size=None) as socket:
                page = Browser(socket)
                for domain in ("Page", "Performance"):
                    page.call(f"{domain}.enable")
                yield page
        finally:
            process.terminate()
            process.wait()


def read_port(path: Path) -> tuple[str, str]:
    """The port of a browser that starts, and the path of its socket."""
    deadline = time.monotonic() + START_SECONDS
    while not (path.is_file() and len(lines := path.read_text().splitlines()) == 2):
        if time.monotonic() > deadline:
            raise SystemExit("Chromium did not start")
        time.sleep(0.05)
    return lines[0], lines[1]


def page_of(port: tuple[str, str]) -> str:
    """The socket of the browser's one page."""
    with connect(f"ws://127.0.0.1:{port[0]}{port[1]}") as socket:
        targets = Browser(socket).call("Target.getTargets")["targetInfos"]
    page = next(one for one in targets if one["type"] == "page")
    return f"ws://127.0.0.1:{port[0]}/devtools/page/{page['targetId']}"


def picture(seed: int) -> np.ndarray:
    """A smooth picture with some grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((320, 180), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(coarse, np.int16) + rng.normal(0, 4, (180, 320, 3)), 0, 255).astype(np.uint8)


def write_video_page(folder: Path, segments: int) -> Path:
    """A review page of so many segments, each with all the memories it may recall, and two videos that play."""
    frames = segments * (WINDOW - OVERLAP)
    shots = shots_from_cuts(range(SHOT, frames, SHOT), frames)
    planned = plan_segments(shots, WINDOW, OVERLAP)[:segments]
    chart = f"testsrc2=size=320x180:rate={RATE}:duration={frames / RATE},trim=end_frame={frames}"
    options = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", str(RATE)]
    command = [str(find_ffmpeg()), "-v", "error", "-f", "lavfi", "-i", chart, *options, str(folder / "source.mp4")]
    subprocess.run(command, check=True)
    shutil.copy(folder / "source.mp4", folder / "result.mp4")
    review = Review(
        turn=Turn("film.mp4", "make it a snowy winter day", 1, 4000.0, datetime.now(UTC)),
        videos=ReviewVideos(PurePath("source.mp4"), PurePath("result.mp4"), frames, Fraction(RATE)),
        shots=tuple(shots),
        segments=tuple(segment_of(one) for one in planned),
        scores=tuple(scores_of(one) for one in planned),
        replay=Replay("memory-v2v edit film.mp4 --prompt 'make it a snowy winter day'"),
    )
    return write_review(review, folder / "film.html")


def segment_of(segment: Segment) -> ReviewSegment:
    index = segment.index
    before, after = (thumbnail(picture(2 * index + side)) for side in (0, 1))
    earlier = range(max(0, index - MEMORIES), index)
    recalled = tuple(Recall(f"{each}", 0.9, "previous" if each == index - 1 else "similar") for each in earlier)
    merges = tuple(Merge(place, block, (1, 2)) for place in range(len(recalled)) for block in (10, 20))
    return ReviewSegment(f"{index}", segment, before, after, recalled, 8.0, index % 7 == 0, merges)


def scores_of(segment: Segment) -> ShownScores:
    numbers = np.random.default_rng(segment.index).uniform(0, 1.05, 3)
    scores = dict(zip(("colour drift", "seam", "flicker"), map(float, numbers), strict=True))
    flags = tuple(f"{name} is {score:.2f}, above 1." for name, score in scores.items() if score > 1)
    return ShownScores(segment.index, scores, dict.fromkeys(scores, 1.0), flags)


def write_catalog(folder: Path, videos: int) -> Path:
    """The page of a catalog, every video with a picture."""
    states = []
    for number in range(videos):
        video = folder / f"take-{number:05d}" / f"take-{number:05d}_edit_v001.mp4"
        review_folder(video).mkdir(parents=True)
        for path in (video, video.with_suffix(".html")):
            path.touch()
        (review_folder(video) / POSTER).write_bytes(thumbnail(picture(number)))
        told = {"segments": 40, "edited": 40, "seconds": 300.0, "video_seconds": 60.0, "drift": number % 12}
        state, error = ("failed", "its file is cut short; fetch it anew") if number % 50 == 0 else ("done", "")
        states.append(VideoState(video.parent.name, "line", state, **told, error=error, output=str(video)))  # type: ignore[arg-type]
    return write_catalog_page(folder, states, None)


def measure_page(path: Path, runs: int) -> dict[str, Any]:
    """How a page opens, each time in a fresh browser, and how it scrolls."""
    opened, waits, layouts = [], [], 0.0
    for _ in range(runs):
        with browser() as page:
            page.call("Page.navigate", url=path.as_uri())
            opened.append(max(page.run(OPENED)))
            before = page.counts()["LayoutCount"]
            waits += page.run(SCROLLED)
            layouts += page.counts()["LayoutCount"] - before
    return {
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "opened_ms": round(median(opened)),
        "opened_worst_ms": round(max(opened)),
        "frame_ms": round(median(waits), 1),
        "frame_p95_ms": round(float(np.percentile(waits, 95)), 1),
        "frame_worst_ms": round(max(waits), 1),
        "layouts_a_frame": round(layouts / len(waits), 2),
    }


def measure(segments: int, videos: int, runs: int) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "segments": segments,
            "videos": videos,
            "review": measure_page(write_video_page(folder, segments), runs),
            "catalog": measure_page(write_catalog(folder, videos), runs),
        }


def as_markdown(figures: Figures) -> str:
    """The page."""
    head = ("", f"{figures['segments']} segments", f"{figures['videos']} videos")
    names = figures["review"]
    rows = [(name.replace("_", " "), figures["review"][name], figures["catalog"][name]) for name in names]
    return dated_page("How the pages open", f"Under a load of {os.getloadavg()[1]:.0f}.", table(head, rows))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--segments", type=int, default=500)
    options.add_argument("--videos", type=int, default=1000)
    options.add_argument("--runs", type=int, default=5, help="fresh browsers for each page")
    chosen = options.parse_args()
    figures = measure(chosen.segments, chosen.videos, chosen.runs)
    publish("pages", figures, as_markdown(figures), chosen)


if __name__ == "__main__":
    main()
