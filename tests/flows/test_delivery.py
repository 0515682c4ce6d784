"""A real edit is delivered, and a catalog with what became of its videos."""

import json
import re
import sys
from pathlib import Path

import opentimelineio as otio
import pytest

from flows.cli import main
from flows.delivery import deliver_from, verify_deliveries
from flows.edit import EditReport, edit
from flows.request import build_request
from model.errors import RequestError, RunError
from storage.delivery import Order
from storage.finished import Wanted
from storage.probe import probe
from storage.video_states import STATE, VideoState, VideoStates
from tests.clips import make_clip
from tests.storage.deliverables import make_finished


@pytest.fixture(scope="module")
def edited(cluster: None, film: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EditReport]:
    """Three segments of a film, edited by the stand-in for a model."""
    out = tmp_path_factory.mktemp("edited")
    fixed = {"video": film, "instruction": "make it night", "out": out, "weights": "rehearsal:0"}
    return out, edit(build_request(fixed, {"window": {}, "retrieval": {}, "sampling": {}}))


@pytest.fixture(scope="module")
def sent(edited: tuple[Path, EditReport], film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("sent")
    report = deliver_from(edited[0], Wanted(), Order(to, source=film))
    assert [one.folder for one in report.made] == [to / "film_edit_v001"]
    return to


def test_a_real_edit_is_told_as_its_page_tells_it(edited: tuple[Path, EditReport], sent: Path, film: Path) -> None:
    _, report = edited
    told = json.loads((sent / "film_edit_v001" / "film_edit_v001.json").read_text())
    page = Path(report.review).read_text()
    assert told["source"]["verified"]
    assert told["conversions"]
    for sentence in told["conversions"]:
        assert sentence in page
    assert told["settings"]["sampling"] in page
    assert (told["turn"]["asked"], told["turn"]["seed"]) == ("make it night", "0")
    assert told["turn"]["weights"].startswith(told["settings"]["weights"])
    assert len(told["segments"]) == report.segments
    assert [one["recalled"] == [] for one in told["segments"]] == [True] + [False] * (report.segments - 1)
    assert told["segments"][1]["recalled"][0]["reason"] == "previous"
    assert told["master"]["nb_frames"] == probe(film).frames
    assert probe(sent / "film_edit_v001" / "film_edit_v001_proxy.mp4").frames == probe(film).frames


def test_its_clips_are_all_frames_once(edited: tuple[Path, EditReport], sent: Path) -> None:
    timeline = otio.adapters.read_from_file(str(sent / "film_edit_v001" / "film_edit_v001.otio"))
    clips = list(timeline.find_clips())
    assert len(clips) == edited[1].segments
    assert sum(clip.duration().value for clip in clips) == edited[1].frames
    assert [clip.metadata["memory_v2v"]["id"] for clip in clips] == [
        one["id"] for one in json.loads((sent / "film_edit_v001" / "film_edit_v001.json").read_text())["segments"]
    ]


def test_tampering_is_found_by_the_command(
    sent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verified() -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["memory-v2v", "deliver", "--verify", str(sent / "film_edit_v001")])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), capsys.readouterr().out

    edl = sent / "film_edit_v001" / "film_edit_v001.edl"
    before = edl.read_text()
    assert verified() == (0, f"{edl.parent}: 7 files are as they were sealed\n")
    edl.write_text(re.sub(r"00:00:00:00", "00:00:00:01", before, count=1))
    assert verified() == (1, f"{edl}: has changed\n")
    edl.write_text(before)


def test_a_catalog_delivers_what_is_finished_and_names_the_rest(tmp_path: Path) -> None:
    """Also after its folder was moved: states name the places where results were."""
    source = make_clip("drop_frame", tmp_path)
    catalog = tmp_path / "catalog"
    for name in ("ep101", "ep102"):
        (catalog / name).mkdir(parents=True)
        make_finished(source, catalog / name)
    VideoStates(catalog / STATE).write(
        [
            VideoState("ep101", "", "done", output=str(catalog / "ep101" / "film_edit_v001.mov")),
            VideoState("ep102", "", "done", output="s3://bucket/films/film_edit_v001.mov"),
            VideoState("ep103", "", "partial", error="segments given up: 2"),
            VideoState("ep104", "", "skipped"),
            VideoState("ep105", "", "done", output=str(catalog / "ep105" / "film_edit_v001.mov")),
        ]
    )
    moved = catalog.rename(tmp_path / "moved")
    report = deliver_from(moved, Wanted(), Order(tmp_path / "to"))
    assert [one.folder.name for one in report.made] == ["ep101_edit_v001", "ep102_edit_v001"]
    assert [line.split(":")[0] for line in report.refused] == ["ep103", "ep105"]
    assert "is not finished (segments given up: 2)" in report.refused[0]
    assert verify_deliveries(tmp_path / "to").faults == ()
    only = deliver_from(moved, Wanted(video="ep102"), Order(tmp_path / "to"))
    assert ([one.folder.name for one in only.made], only.refused) == (["ep102_edit_v002"], ())
    with pytest.raises(RunError, match="nothing was delivered; ep103: is not finished"):
        deliver_from(moved, Wanted(video="ep103"), Order(tmp_path / "to"))
    with pytest.raises(RequestError, match="is a catalog"):
        deliver_from(moved, Wanted(turn=1), Order(tmp_path / "to"))
