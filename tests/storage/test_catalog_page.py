"""The page of a catalog as a file, and as a browser sees it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.catalog_page import MOST_LINKS, write_catalog_page
from storage.review import POSTER
from storage.run_report import RunRecord
from storage.store import review_folder
from storage.video_states import VideoState
from tests.storage.test_review import HOSTILE, Page, body_of, browse  # noqa: F401 - a fixture

RUN = RunRecord("r", "2026-11-23T21:00:00+00:00", 3600.0, None, {"done": 1}, {"edited": 4}, None, None, None)


def state_of(id: str, **fields: object) -> VideoState:
    return replace(VideoState(id, "line", "done", segments=4, seconds=8.0, video_seconds=2.0), **fields)


def make_video(out: Path, id: str, version: int = 1, flags: int | None = None) -> str:
    """What an edit leaves in a folder; returns the path of the result."""
    video = out / id / f"{id}_edit_v{version:03d}.mp4"
    review_folder(video).mkdir(parents=True)
    for path in (video, video.with_suffix(".html"), review_folder(video) / POSTER):
        path.write_bytes(b"x")
    if flags is not None:
        segments = [{"index": at, "scores": {}, "flags": ["look"] if at < flags else []} for at in range(4)]
        video.with_name(f"{video.stem}_scores.json").write_text(json.dumps({"segments": segments}))
    return str(video)


def read_rows(path: Path) -> list[str]:
    """The names of the videos, from the top."""
    return [one["data-value"] or "" for one in Page(path.read_text()).all("th") if one.get("scope") == "row"]


def test_what_wants_a_person_comes_first(tmp_path: Path) -> None:
    states = [
        state_of("quiet"),
        state_of("drifts", drift=12.0),
        state_of("flagged", output=make_video(tmp_path, "flagged", flags=2)),
        state_of("judged", output=make_video(tmp_path, "judged", flags=0)),
        state_of("broken", state="failed", error="cut short", faults=3),
        state_of("left", state="skipped"),
        state_of("half", state="partial", quarantined=1),
    ]
    path = write_catalog_page(tmp_path, states, RUN)
    assert path == tmp_path / "index.html"
    assert read_rows(path) == ["broken", "half", "flagged", "drifts", "judged", "quiet", "left"]
    text = " ".join("".join(Page(path.read_text()).words).split())
    for words in ("7 1 failed, 1 partial, 4 done, 1 skipped", "28 1 given up", "Retries3", "3 of 4", "cut short"):
        assert words in text


def test_pages_and_pictures_are_linked_where_they_are(tmp_path: Path) -> None:
    for version in range(1, MOST_LINKS + 3):
        last = make_video(tmp_path, "a b", version)
    moved = make_video(tmp_path, "moved").replace(str(tmp_path), "/elsewhere")
    delivered = "s3://bucket/results/" + Path(make_video(tmp_path, "sent")).name
    grouped = "s3://bucket/results/" + Path(make_video(tmp_path, "season")).name
    states = [
        state_of("a b", output=last),
        state_of("moved", output=moved),
        state_of("sent", output=delivered),
        state_of("third", output=grouped, folder="season"),
        state_of("lost", output="s3://bucket/results/sent_edit_v001.mp4", folder="lost"),
        state_of("gone", output="/nowhere/gone_edit_v001.mp4"),
    ]
    page = Page(write_catalog_page(tmp_path, states, None).read_text())
    links = [one["href"] for one in page.all("a")]
    numbered = [f"./a%20b/a%20b_edit_v{version:03d}.html" for version in range(3, MOST_LINKS + 3)]
    once = [f"./{id}/{id}_edit_v001.html" for id in ("moved", "sent", "season") for _ in range(2)]
    assert links == [numbered[-1], *numbered, *once]
    assert [one["src"] for one in page.all("img")] == [
        f"./a%20b/a%20b_edit_v{MOST_LINKS + 2:03d}_review/poster.jpg",
        *(f"./{id}/{id}_edit_v001_review/poster.jpg" for id in ("moved", "sent", "season")),
    ]


def hostile_states() -> list[VideoState]:
    return [state_of("video", state="failed", error=HOSTILE, tags=HOSTILE), state_of(HOSTILE)]


def test_whatever_a_user_wrote_is_text(tmp_path: Path) -> None:
    page = Page(write_catalog_page(tmp_path, hostile_states(), RUN).read_text())
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert "".join(page.words).count(HOSTILE) == 3
    assert not any(name.startswith("on") or name == "style" for _, found in page.elements for name in found)


def test_a_thousand_videos_stay_below_two_megabytes(tmp_path: Path) -> None:
    states = [state_of(f"take-{number:05d}", error="a reason " * 10, tags="a b c") for number in range(1000)]
    assert write_catalog_page(tmp_path, states, RUN).stat().st_size < 2e6


def drive(page: Path, load: Callable, script: str) -> list[list]:
    """Run `script` beside the page; returns what it put into `notes`."""
    driver = page.with_name("driver.html")
    driver.write_text(f"""<!doctype html><body><iframe src="{page.name}"></iframe><script>
    const frame = document.querySelector("iframe"), notes = [];
    frame.onload = () => {{
      const page = frame.contentDocument, view = frame.contentWindow, filter = page.getElementById("filter");
      const names = () => [...page.querySelectorAll("tbody tr:not([hidden]) .name")].map((each) => each.textContent);
      const type = (text) => {{ filter.value = text; filter.dispatchEvent(new view.Event("input")); }};
      const sort = (at) => page.querySelectorAll("thead button")[at].click();
      {script}
      document.body.dataset.notes = JSON.stringify(notes);
    }};
    </script></body>""")
    found, console = load(driver.as_uri())
    assert console == []
    return json.loads(body_of(found)["data-notes"] or "")


def test_rows_are_filtered_and_sorted_in_a_browser(browse: Callable, tmp_path: Path) -> None:  # noqa: F811
    states = [
        state_of("take-10", drift=2.0, tags="beach"),
        state_of("take-9", drift=12.0, tags="beach"),
        state_of("take-8", state="failed", error="cut short", tags="<b>"),
        *hostile_states()[1:],
    ]
    page = write_catalog_page(tmp_path, states, RUN)
    script = """
      notes.push(names()); sort(0); notes.push(names().slice(-3)); sort(5); notes.push(names().slice(0, 2));
      sort(1); notes.push(names());
      type("BEACH take"); notes.push(names()); type("failed cut");
      notes.push([...names(), page.getElementById("shown").textContent]);
      type("no such"); notes.push(names());"""
    start, by_name, by_drift, by_state, beach, failed, none = drive(page, browse, script)
    assert start == by_state == ["take-8", "take-9", HOSTILE, "take-10"]
    assert by_name == ["take-8", "take-9", "take-10"], "numbers count as numbers"
    assert by_drift == ["take-9", "take-10"]
    assert beach == ["take-9", "take-10"]
    assert failed == ["take-8", "1 of 4 videos"]
    assert none == []


@pytest.mark.parametrize("error", [None, "no state was ever told"])
def test_an_empty_catalog_has_a_page(error: str | None, tmp_path: Path) -> None:
    states = [] if error is None else [VideoState("one", "line", "queued", error=error)]
    assert len(read_rows(write_catalog_page(tmp_path, states, None))) == len(states)
