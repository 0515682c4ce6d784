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
from model.types import Merge, Recall, Shot, Span
from storage.page import thumbnail
from storage.review import (
    EarlierMemory,
    Replay,
    Review,
    ReviewSegment,
    ReviewVideos,
    ShownScores,
    Turn,
    write_review,
)
from tests.clips import SHORT_GOPS, chart, run_ffmpeg

HOSTILE = """<script>document.body.dataset.stolen = 1</script><img src=x onerror="alert(1)"> "'&{{ 7*7 }}"""
FRAMES = 60
TEMPLATES = Path(__file__).resolve().parents[2] / "storage" / "templates"


def picture(seed: int = 0, height: int = 180, width: int = 320) -> np.ndarray:
    """A smooth coloured picture with some grain, as hard to compress as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


def make_segments(shots: Sequence[Shot], frames: int = 21) -> tuple[ReviewSegment, ...]:
    """Every segment recalls the one before, as previous inside a shot; every third was reused.

    Every fourth told nothing of merges.
    """
    segments = plan_segments(shots, frames, 4)
    pictures = [thumbnail(picture(seed)) for seed in range(4)]
    recalled = [()] + [
        (Recall(f"id{here.index - 1}", 0.875, "previous" if before.shot == here.shot else "similar"),)
        for before, here in pairwise(segments)
    ]
    return tuple(
        ReviewSegment(
            f"id{one.index}",
            one,
            pictures[0],
            pictures[one.index % 4],
            memories,
            1.5,
            one.index % 3 == 0,
            None if one.index % 4 == 3 else tuple(Merge(0, block, (0, 2)) for block in (2, 4) if memories),
        )
        for one, memories in zip(segments, recalled, strict=True)
    )


def make_scores(segments: Sequence[ReviewSegment], flagged: Sequence[int]) -> tuple[ShownScores, ...]:
    """Scores that grow along the video; those flagged have a seam beyond its bound."""
    return tuple(
        ShownScores(
            one.segment.index,
            {"drift": one.segment.index / 2, "seam": 3.0 if at in flagged else 0.5},
            {"seam": 2.0},
            (f"A seam at segment {at + 1}.",) if at in flagged else (),
        )
        for at, one in enumerate(segments)
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
        replay=Replay("memory-v2v edit clip.mp4 --prompt 'make it <b>snow</b>'", ("edit.attention",)),
    )


def flagged_review(*flagged: int) -> Review:
    review = make_review()
    return replace(review, scores=make_scores(review.segments, flagged))


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


def test_scores_flags_and_merges_are_on_the_page(tmp_path: Path) -> None:
    review = flagged_review(1, 3)
    page = read_page(review, tmp_path)
    text = " ".join(" ".join(page.words).split())
    assert "2 of 4 measured" in text
    assert text.count("A seam at segment") == 2
    assert "worst 3, bound 2" in text
    assert "Merged 4 latent frames of 1 memory segment 0: before block 2 frames 0, 2; before block 4" in text
    assert text.count("Merged frames: not recorded") == 1
    assert len(page.all("rect", "flag")) == 2
    assert len(page.all("path", "within")) == len(page.all("path", "beyond")) == 2
    bars = [page.all("path", name)[1]["d"] or "" for name in ("within", "beyond")]
    assert [bar.count("M") for bar in bars] == [2, 2]


def test_without_scores_there_is_nothing_to_sort_or_to_jump_to(tmp_path: Path) -> None:
    page = read_page(make_review(), tmp_path)
    buttons = {one.get("id") for one in page.all("button")}
    assert not {"sort", "next-flag"} & buttons
    assert page.all("div", "curve") == []


def test_bars_end_where_the_next_segment_begins_and_keep_within_the_drawing() -> None:
    review = flagged_review(1)
    seam = review.curves[1]
    starts = [one.segment.span.start for one in review.segments]
    assert re.findall(r"M(\d+)", seam.within) == [str(start) for start in (starts[0], *starts[2:])]
    assert re.findall(r"M(\d+) 1V([\d.]+)H(\d+)", seam.beyond) == [(str(starts[1]), "0.000", str(starts[2]))]
    assert (seam.worst, seam.bound, seam.limit) == (3.0, 2.0, 0.333)
    assert review.curves[0].limit is None


def luminance(colour: str) -> float:
    channels = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart(scheme: str) -> None:
    """WCAG 2.2, AA: text 4.5 to 1, what is drawn 3 to 1."""
    light, _, dark = (TEMPLATES / "page.css").read_text().partition("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6})", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6})", dark))

    def contrast(one: str, other: str) -> float:
        bright, dim = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (bright + 0.05) / (dim + 0.05)

    texts = {(text, ground) for text in ("text", "soft", "accent", "flag") for ground in ("ground", "raised")}
    texts |= {("text", "sunken"), ("flag", "flag-ground"), ("soft", "flag-ground")}
    drawn = {(bar, "sunken") for bar in ("edited", "reused", "flag")} | {("bar", "ground"), ("accent", "sunken")}
    poor = {pair: round(contrast(*pair), 2) for pair in texts if contrast(*pair) < 4.5}
    poor |= {pair: round(contrast(*pair), 2) for pair in drawn if contrast(*pair) < 3}
    assert not poor


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
        scores=(ShownScores(0, {HOSTILE: 1.0}, {HOSTILE: 0.5}, (HOSTILE,)),),
        replay=Replay(HOSTILE, (HOSTILE,)),
    )


def test_whatever_a_user_wrote_is_text(tmp_path: Path) -> None:
    page = read_page(hostile_review(), tmp_path)
    assert len(page.all("script")) == 2
    assert not [one for one in page.all("img") if one.get("src") == "x"]
    assert "".join(page.words).count(HOSTILE) == 12


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
      const next = { shiftKey: true };
      note(); press("ArrowRight", next); note(); press("ArrowRight", next); press("ArrowLeft", next); note();
      press("ArrowRight"); note(); press("w"); press("ArrowLeft"); press("ArrowLeft"); note();
      for (let i = 0; i < 99; i++) press("ArrowRight", next); note(); press("w"); press("End"); note();
      for (let i = 0; i < 99; i++) press("ArrowRight"); note();"""
    notes = drive(page, browse, script)
    starts = [one.segment.span.start for one in make_review().segments]
    last = len(starts) - 1
    second, end = starts[1], starts[last]
    frames = [0, second, second, second + 1, second - 1, end, end, FRAMES - 1]
    assert [note[0] for note in notes] == frames
    assert [note[1] for note in notes] == [max(i for i in range(last + 1) if starts[i] <= frame) for frame in frames]
    for frame, _, source, result, _ in notes:
        assert source == result == pytest.approx((frame + 0.5) / 25, abs=1e-3)
    assert [note[4] for note in notes] == ["wipe"] * 4 + ["side"] * 2 + ["wipe"] * 2


def test_space_plays_and_stops(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(), videos / "plays.html")
    script = """
      const paused = () => notes.push([one("source").paused, one("result").paused, one("play").textContent]);
      paused(); press(" "); paused(); press(" "); paused();"""
    assert drive(page, browse, script) == [[True, True, "Play"], [False, False, "Pause"], [True, True, "Play"]]


def test_space_plays_also_from_a_control_that_it_does_not_work(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(), videos / "controls.html")
    script = """
      for (const each of [one("wipe"), page.querySelector("#views input"), one("sound")]) {
        const key = new view.KeyboardEvent("keydown", { key: " ", bubbles: true, cancelable: true });
        notes.push([each.dispatchEvent(key), one("play").textContent]); press("k");
      }"""
    assert drive(page, browse, script) == [[False, "Pause"], [False, "Pause"], [True, "Play"]]


def test_what_can_be_played_is(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(source=PurePath("gone.mp4")), videos / "half.html")
    script = 'press(" "); notes.push([one("result").paused, one("play").textContent]);'
    assert drive(page, browse, script) == [[False, "Pause"]]


def test_a_result_without_sound_says_so(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(sound=False), videos / "silent.html")
    script = 'press("m"); notes.push([one("sound").disabled, one("result").muted, one("said").textContent]);'
    assert drive(page, browse, script) == [[True, True, "The result has no sound that can be played here"]]


def test_letters_shuttle_and_choose_what_is_seen(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(), videos / "letters.html")
    script = """
      const tell = () => notes.push([one("play").textContent, one("source").playbackRate, one("source").paused]);
      press("l"); tell(); press("l"); tell(); press("k"); tell();
      press("ArrowRight", { shiftKey: true }); press("j"); tell(); press("k"); tell();
      for (const key of "1234") { press(key); notes.push([one("stage").className, one("wipe").hidden]); }
      press("?"); notes.push([one("help").open]); press("3"); notes.push([one("stage").className]);
      press("?"); notes.push([one("help").open]);
      one("letters").checked = false; press("1"); notes.push([one("stage").className]);"""
    assert drive(page, browse, script) == [
        *(["Pause", 1, False], ["Pause 2x", 2, False], ["Play", 2, True]),
        *(["Pause", 2, True], ["Play", 2, True]),
        *(["wipe", False], ["side", True], ["source", True], ["result", True]),
        *([True], ["result"], [False], ["result"]),
    ]


def test_flags_are_jumped_to_and_sorted_first(browse: Callable, videos: Path) -> None:
    page = write_review(flagged_review(1, 3), videos / "flags.html")
    script = """
      const order = () => notes.push([...page.querySelectorAll("h3")].map((h) => h.textContent.trim()[8]));
      const there = () => notes.push([Number(page.body.dataset.frame), one("said").textContent]);
      press("f"); there(); press("f"); there(); press("f"); there();
      click("#sort"); order(); click("#sort"); order();
      click("#next-flag"); there();"""
    first, second, again, sorted_, unsorted, clicked = drive(page, browse, script)
    starts = [one.segment.span.start for one in make_review().segments]
    assert [found[0] for found in (first, second, again, clicked)] == [starts[1], starts[3], starts[1], starts[3]]
    assert first[1] == "Segment 1: A seam at segment 2."
    assert sorted_ == ["1", "3", "0", "2"]
    assert unsorted == ["0", "1", "2", "3"]


def test_the_divider_and_the_timeline_are_sliders_that_say_where_they_are(browse: Callable, videos: Path) -> None:
    page = write_review(make_review(), videos / "sliders.html")
    script = """
      const wipe = one("wipe"), scrub = one("scrub"), tell = (event) => new view.Event(event);
      wipe.value = 30; wipe.dispatchEvent(tell("input"));
      notes.push([wipe.getAttribute("aria-valuetext"), one("stage").style.getPropertyValue("--wipe")]);
      const key = new view.KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true, cancelable: true });
      wipe.dispatchEvent(key); notes.push([key.defaultPrevented, page.body.dataset.frame]);
      scrub.value = 47; scrub.dispatchEvent(tell("input"));
      notes.push([page.body.dataset.frame, scrub.getAttribute("aria-valuetext")]);"""
    divider, own, timeline = drive(page, browse, script)
    assert divider == ["30 %", "30%"]
    assert own == [False, "0"], "the divider keeps its arrows"
    assert timeline == ["47", "frame 47, 00:00:01:22, segment 3"]


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
    script = (
        'press("ArrowRight"); note(); press("ArrowRight"); note(); press("ArrowRight", { shiftKey: true }); note();'
    )
    for frame, _, source, result, _ in drive(page, browse, script):
        assert source == result == pytest.approx((times[frame] + times[frame + 1]) / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("rate", "times", "expected"),
    [
        (Fraction(1, 3), (), "00:00:30.000"),
        (Fraction(25, 2), (), "00:00:00.800"),
        (Fraction(296, 10), tuple(0.04 * n for n in range(FRAMES)), "00:00:00.400"),
    ],
)
def test_where_no_timecode_counts_the_frames_time_is_told(
    rate: Fraction, times: tuple[float, ...], expected: str, browse: Callable, videos: Path
) -> None:
    page = write_review(make_review(rate=rate, times=times), videos / "clock.html")
    found, _ = browse(page.as_uri() + "#frame=10")
    assert re.search(r'id="timecode"[^>]*>([^<]+)<', found)[1] == expected


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
