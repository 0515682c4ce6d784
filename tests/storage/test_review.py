"""The review page as a file, and as a browser sees it."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from model.segments import plan_segments
from model.shots import shots_from_cuts
from model.types import Recall, Shot, Span
from storage.review import (
    EarlierMemory,
    Review,
    ReviewSegment,
    ReviewVideos,
    Turn,
    thumbnail,
    write_review,
)
from tests.clips import SHORT_GOPS, chart, run_ffmpeg

HOSTILE = """<script>document.body.dataset.stolen = 1</script><img src=x onerror="alert(1)"> "'&{{ 7*7 }}"""
FRAMES = 60


def picture(seed: int = 0, height: int = 180, width: int = 320) -> np.ndarray:
    """A smooth coloured picture with some grain, as hard to compress as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def make_segments(shots: Sequence[Shot], frames: int = 21) -> tuple[ReviewSegment, ...]:
    """Every segment recalls the one before, as previous inside a shot; every third was reused."""
    segments = plan_segments(shots, frames, 4)
    pictures = [thumbnail(picture(seed)) for seed in range(4)]
    recalled = [()] + [
        (Recall(f"id{here.index - 1}", 0.875, "previous" if before.shot == here.shot else "similar"),)
        for before, here in pairwise(segments)
    ]
    return tuple(
        ReviewSegment(f"id{one.index}", one, pictures[0], pictures[one.index % 4], memories, 1.5, one.index % 3 == 0)
        for one, memories in zip(segments, recalled, strict=True)
    )


def make_review(cuts: Sequence[int] = (20, 45), frames: int = FRAMES, **videos: object) -> Review:
    shots = shots_from_cuts(cuts, frames)
    files = {"source": PurePath("source.mp4"), "result": PurePath("result.mp4"), "rate": Fraction(25)} | videos
    return Review(
        turn=Turn("A clip", "make it <b>snow</b>", 0, 12.5, datetime(2026, 11, 23, 9, 30, tzinfo=UTC)),
        videos=ReviewVideos(frames=frames, **files),
        shots=tuple(shots),
        segments=make_segments(shots),
        conversions=("The source has 10 bits a channel; the result has 8.",),
        settings={"Seed": "0"},
    )


class Page(HTMLParser):
    """Elements of a page with their attributes, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        raw = self.raw.get(self.elements[-1][0] if self.elements else "")
        (self.words if raw is None or not self.cdata_elem else raw).append(data)

    def all(self, tag: str, name: str | None = None) -> list[dict[str, str | None]]:
        return [
            attributes
            for found, attributes in self.elements
            if found == tag and (name is None or name in (attributes.get("class") or "").split())
        ]


def read_page(review: Review, folder: Path) -> Page:
    return Page(write_review(review, folder / "review.html").read_text(encoding="utf-8"))


def test_everything_is_on_the_page(tmp_path: Path) -> None:
    review = make_review()
    page = read_page(review, tmp_path)
    assert len(page.all("li", "segment")) == len(review.segments)
    assert len(page.all("button", "recall")) == len(review.segments) - 1
    assert len(page.all("line", "cut")) == 2
    assert len(page.all("rect", "reused")) == sum(one.reused for one in review.segments)
    text = " ".join(" ".join(page.words).split())
    for words in ("make it <b>snow</b>", "60 frames at 25", "12.5 s", "0.88 previous", "10 bits a channel", "Seed 0"):
        assert words in text


def test_nothing_is_fetched_and_only_our_script_and_style_run(tmp_path: Path) -> None:
    page = read_page(make_review(), tmp_path)
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for kind, texts in (("script", page.raw["script"][-1:]), ("style", page.raw["style"])):
        digest = base64.b64encode(sha256("".join(texts).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    links = [one["src"] for tag in ("img", "video", "script") for one in page.all(tag) if one.get("src")]
    assert all(link.startswith(("data:image/jpeg;base64,", "./")) for link in links)
    assert not any(name.startswith("on") or name == "style" for _, found in page.elements for name in found)


def hostile_review() -> Review:
    review = make_review()
    earlier = EarlierMemory(HOSTILE, 0, Span(0, 9), HOSTILE, thumbnail(picture()))
    first = replace(review.segments[0], recalled=(Recall(HOSTILE, 0.1, "similar"),))
    return replace(
        review,
        turn=replace(review.turn, title=HOSTILE, instruction=HOSTILE),
        segments=(first, *review.segments[1:]),
        earlier=(earlier,),
        conversions=(HOSTILE,),
        settings={HOSTILE: HOSTILE},
    )


def test_whatever_a_user_wrote_is_text(tmp_path: Path) -> None:
    page = read_page(hostile_review(), tmp_path)
    assert len(page.all("script")) == 2
    assert not [one for one in page.all("img") if one.get("src") == "x"]
    assert "".join(page.words).count(HOSTILE) == 7


def test_text_that_is_no_unicode_is_shown_all_the_same(tmp_path: Path) -> None:
    review = make_review()
    page = read_page(replace(review, turn=replace(review.turn, title="clip \udce9.mp4")), tmp_path)
    assert "clip ?.mp4" in page.words


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("../in/a b.mp4", "./../in/a%20b.mp4"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("100%#1?.mp4", "./100%25%231%3F.mp4"),
        ("é\udcff.mp4", "./%C3%A9%FF.mp4"),
    ],
)
def test_video_names_become_relative_links(name: str, link: str, tmp_path: Path) -> None:
    page = read_page(make_review(source=PurePosixPath(name)), tmp_path)
    assert page.all("video")[0]["src"] == link


def test_absolute_video_paths_are_refused() -> None:
    with pytest.raises(AssertionError, match="relative"):
        make_review(result=PurePath("/videos/result.mp4"))


def test_a_recalled_memory_that_is_nowhere_is_refused() -> None:
    review = make_review()
    with pytest.raises(AssertionError, match="gone"):
        replace(review, segments=(replace(review.segments[0], recalled=(Recall("gone", 0.5, "similar"),)),))


def test_the_page_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    page = tmp_path / "review.html"
    page.write_text("an older page")
    assert write_review(make_review(), page) == page
    assert page.read_text().rstrip().endswith("</html>")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_review(make_review(), tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "review.html"]


def test_two_thousand_segments_stay_below_forty_megabytes(tmp_path: Path) -> None:
    review = make_review(cuts=range(500, 34_000, 500), frames=34_000)
    assert len(review.segments) > 1_900
    assert write_review(review, tmp_path / "review.html").stat().st_size < 40e6


@pytest.mark.parametrize(
    ("height", "width", "size"), [(1080, 1920, (176, 99)), (1920, 1080, (72, 128)), (40, 60, (60, 40))]
)
def test_thumbnails_are_small_and_keep_their_shape(height: int, width: int, size: tuple[int, int]) -> None:
    packed = thumbnail(picture(0, height, width))
    with Image.open(BytesIO(packed)) as image:
        assert (image.format, image.size) == ("JPEG", size)
    assert len(packed) < 8_000


# In a browser


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, list[str]]]:
    """Loads a page in headless Chromium; returns its elements when it has come to rest, and what its console said."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    profile = tmp_path_factory.mktemp("profile")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
    options += ["--allow-file-access-from-files", f"--user-data-dir={profile}", "--virtual-time-budget=10000"]

    def load(address: str) -> tuple[str, list[str]]:
        command = [chromium, *options, "--dump-dom", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return load


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source and a result of 60 frames."""
    folder = tmp_path_factory.mktemp("review")
    run_ffmpeg(*chart(), *SHORT_GOPS, folder / "source.mp4")
    run_ffmpeg(*chart(), "-vf", "negate", *SHORT_GOPS, folder / "result.mp4")
    return folder


def body_of(page: str) -> dict[str, str | None]:
    return Page(page).all("body")[0]


def drive(page: Path, browse: Callable, script: str) -> list[list]:
    """Run `script` beside the page, with `press(key)`, `click(selector)` and `note()`; returns the notes.

    A note is [frame, index of the current segment, seconds in the source, seconds in the result, classes of the stage].
    """
    driver = page.with_name("driver.html")
    driver.write_text(f"""<!doctype html><body><iframe src="{page.name}" width="1200" height="900"></iframe><script>
    const frame = document.querySelector("iframe"), notes = [];
    frame.onload = async () => {{
      const page = frame.contentDocument, view = frame.contentWindow, one = (id) => page.getElementById(id);
      const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      while (!page.body.dataset.ready) await pause(20);
      const press = (key, more) =>
        page.body.dispatchEvent(new view.KeyboardEvent("keydown", {{ key, bubbles: true, cancelable: true, ...more }}));
      const click = (selector) => page.querySelector(selector).click();
      const at = () => [...page.querySelectorAll("#segments > li")].findIndex((card) => card.ariaCurrent);
      const note = () => notes.push([Number(page.body.dataset.frame), at(), one("source").currentTime,
        one("result").currentTime, one("stage").className]);
      {script}
      document.body.dataset.notes = JSON.stringify(notes);
    }};
    </script></body>""")
    return json.loads(body_of(browse(driver.as_uri())[0])["data-notes"] or "")


def test_the_page_loads_without_a_word_on_the_console(browse: Callable, videos: Path) -> None:
    review = make_review()
    page, console = browse(write_review(review, videos / "loads.html").as_uri())
    body = body_of(page)
    assert console == []
    assert (body["data-ready"], body["data-source"], body["data-result"]) == ("true", "loaded", "loaded")
    assert len(Page(page).all("li", "segment")) == len(review.segments)


def test_a_fault_would_be_seen_on_the_console(browse: Callable, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<body><script>throw new Error('broken')</script></body>")
    assert "broken" in " ".join(browse(broken.as_uri())[1])


def test_hostile_text_stays_text_in_a_browser(browse: Callable, videos: Path) -> None:
    page, console = browse(write_review(hostile_review(), videos / "hostile.html").as_uri())
    assert console == []
    assert body_of(page)["data-ready"] == "true"
    assert "data-stolen" not in body_of(page)


def test_a_missing_video_is_named_in_its_place(browse: Callable, videos: Path) -> None:
    review = make_review(source=PurePath("gone.mp4"))
    page, _ = browse(write_review(review, videos / "missing.html").as_uri())
    body = body_of(page)
    assert (body["data-ready"], body["data-source"], body["data-result"]) == ("true", "missing", "loaded")
    assert ["hidden" in one for one in Page(page).all("p", "missing")] == [False, True]


def test_an_address_can_name_a_frame(browse: Callable, videos: Path) -> None:
    page, _ = browse(write_review(make_review(), videos / "frame.html").as_uri() + "#frame=47")
    assert body_of(page)["data-frame"] == "47"


def test_keys_move_both_videos_in_step(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(), videos / "keys.html")
    script = """
      note(); press("j"); note(); press("j"); press("k"); note(); press("ArrowRight"); note();
      press("ArrowRight", { shiftKey: true }); note(); press("ArrowLeft"); press("w"); note();
      for (let i = 0; i < 99; i++) press("j"); note(); press("ArrowRight", { shiftKey: true }); note();"""
    notes = drive(page, browse, script)
    starts = [one.segment.span.start for one in make_review().segments]
    last = len(starts) - 1
    frames = [0, starts[1], starts[1], starts[1] + 1, starts[1] + 26, starts[1] + 25, starts[last], FRAMES - 1]
    assert [note[0] for note in notes] == frames
    assert [note[1] for note in notes] == [max(i for i in range(last + 1) if starts[i] <= frame) for frame in frames]
    for frame, _, source, result, _ in notes:
        assert source == result == pytest.approx((frame + 0.5) / 25, abs=1e-3)
    assert [note[4] for note in notes] == [""] * 5 + ["wipe"] * 3


def test_space_plays_and_stops(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(), videos / "plays.html")
    script = """
      const paused = () => notes.push([one("source").paused, one("result").paused, one("play").textContent]);
      paused(); press(" "); paused(); press(" "); paused();"""
    assert drive(page, browse, script) == [[True, True, "Play"], [False, False, "Pause"], [True, True, "Play"]]


def test_a_recalled_memory_leads_to_its_segment(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(), videos / "recall.html")
    script = """
      click("#segments > li:nth-child(3) .recall"); note(); await pause(200);
      notes.push([...page.querySelectorAll("#segments > li")].map((card) => card.classList.contains("shown")));
      const small = page.querySelector("#segments > li:nth-child(2) .recall img");
      notes.push([small.src === page.querySelector("#segments > li:nth-child(1) .memory").src]);"""
    seen, shown, pictures = drive(page, browse, script)
    segments = make_review().segments
    assert seen[0] == segments[1].segment.span.start
    assert shown == [index == 1 for index in range(len(segments))]
    assert pictures == [True]


def test_frames_of_a_varying_rate_are_sought_by_their_times(browse: Callable, videos: Path) -> None:
    times = tuple(np.cumsum([0, *([0.02, 0.06] * 30)])[:FRAMES].tolist())
    page = write_review(make_review(times=times), videos / "varying.html")
    script = 'press("ArrowRight"); note(); press("ArrowRight"); note(); press("j"); note();'
    for frame, _, source, result, _ in drive(page, browse, script):
        assert source == result == pytest.approx((times[frame] + times[frame + 1]) / 2, abs=1e-3)


def count_timecodes(start: str, base: int, frames: int) -> list[str]:
    """Timecodes one after the other, as a clock that skips `;00` and `;01` in nine minutes of ten."""
    hours, minutes, seconds, number = map(int, re.split("[:;]", start))
    labels, mark = [], ";" if ";" in start else ":"
    for _ in range(frames):
        labels.append(f"{hours:02}:{minutes:02}:{seconds:02}{mark}{number:02}")
        number += 1
        if number == base:
            seconds, number = seconds + 1, 0
        if seconds == 60:
            minutes, seconds = minutes + 1, 0
            number = base // 15 if mark == ";" and minutes % 10 else 0
        if minutes == 60:
            hours, minutes = (hours + 1) % 24, 0
    return labels


@pytest.mark.parametrize(
    ("start", "rate"),
    [
        ("00:58:59;20", Fraction(30000, 1001)),
        ("01:00:00;02", Fraction(60000, 1001)),
        ("23:59:30:00", Fraction(24000, 1001)),
        (None, Fraction(25)),
    ],
)
def test_timecodes_are_counted_from_the_start(
    start: str | None, rate: Fraction, browse: Callable, videos: Path
) -> None:
    frames = 40_000
    base = round(rate)
    near = (1, 20, 29, 30, 31, 59, 1797, 1799)
    borders = sorted({60 * base * minute + offset for minute in range(12) for offset in near})
    whole = make_review(frames=frames, rate=rate, timecode=start)
    shots = tuple(shots_from_cuts([edge for edge in borders if edge < frames], frames))
    review = replace(whole, shots=shots, segments=whole.segments[:1])
    page, console = browse(write_review(review, videos / "timecode.html").as_uri())
    found = re.findall(r'<time data-frame="(\d+)">([^<]+)</time>', page)
    shown = {int(frame): label for frame, label in found}
    expected = count_timecodes(start or "00:00:00:00", base, frames)
    assert console == []
    assert len(shown) > 20
    assert shown == {frame: expected[frame] for frame in shown}
