"""A delivery is whole or not there, says what it is, and has the frames, rate and timecode of the source."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from queue import Queue

import av
import jsonschema
import opentimelineio as otio
import pytest

from model.errors import MemoryV2VError, RequestError, RunError, StoreError, VideoError
from storage.checksums import verify
from storage.delivery import Delivered, Order, deliver
from storage.delivery_folder import staged
from storage.durable import whole_file
from storage.finished import Finished, Wanted, find_catalog_videos, find_finished_video
from storage.footage import changes, footage_of
from storage.ledger import Ledger
from storage.mux import mux
from storage.probe import probe
from storage.scores import SegmentScores, scores_path, write_scores
from storage.sidecar import schema_text, sidecar_schema
from storage.store import MEMORY
from storage.video_states import STATE, VideoState, VideoStates
from tests.clips import chart, make_clip, run_ffmpeg, sound_packets
from tests.storage.deliverables import make_finished
from tests.storage.memories import enter_turn, make_session

ROOT = Path(__file__).parents[2]


def quiet(*told: object) -> None:
    pass


def hand_over(finished: Finished, to: Path, say: Callable[[str], None] = quiet, **order: object) -> Delivered:
    return deliver(finished, Order(to, **order), say, quiet)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ProRes, 29.97 drop-frame from 01:00:00;00, BT.709, 320x180, PCM sound."""
    return make_clip("drop_frame", tmp_path_factory.mktemp("source")).rename(
        tmp_path_factory.mktemp("named") / "film.mov"
    )


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return make_finished(source, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def delivered(finished: Finished, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """With scores, and the source at hand."""
    write_scores(finished.path, [SegmentScores(index=1, scores={"drift": 1.5}, flags=("seam",))])
    made = hand_over(finished, tmp_path_factory.mktemp("deliveries"), source=source.parent)
    scores_path(finished.path).unlink()
    return made


def test_a_delivery_has_these_files(delivered: Delivered) -> None:
    assert sorted(path.name for path in delivered.folder.iterdir()) == [
        *("NOTICE.txt", "checksums.xxh128"),
        *(f"film_edit_v001{end}" for end in (".edl", ".json", ".mov", ".otio", ".xml", "_proxy.mp4")),
    ]
    assert verify(delivered.folder).faults == ()
    assert verify(delivered.folder).whole == 7


def test_the_master_is_the_finished_video_itself(delivered: Delivered, finished: Finished) -> None:
    master = delivered.folder / "film_edit_v001.mov"
    assert master.samefile(finished.path)
    assert sorted(path.name for path in finished.folder.glob("film*")) == ["film_edit_v001.mov"]


def test_a_result_that_was_moved_away_is_delivered_itself(own: Finished, source: Path, tmp_path: Path) -> None:
    own.path.symlink_to(own.path.rename(tmp_path / "moved.mov"))
    made = hand_over(own, tmp_path / "to", source=source)
    master = made.folder / made.sidecar.master.path
    assert master.is_file()
    assert not master.is_symlink()


def test_a_damaged_folder_in_a_catalog_costs_no_other_video(tmp_path: Path) -> None:
    for id in ("ep1", "ep2", "ep3"):
        make_session(tmp_path / id)
        VideoStates(tmp_path / STATE).write(
            [VideoState(id, "", "done", output=str(tmp_path / id / "film_edit_v001.mp4"))]
        )
    for manifest in (tmp_path / "ep2" / MEMORY / "ledger.lance" / "_versions").iterdir():
        manifest.write_bytes(b"")
    found = dict(find_catalog_videos(tmp_path))
    assert isinstance(found["ep2"], StoreError)
    assert [isinstance(found[id], Finished) for id in ("ep1", "ep3")] == [True, True]


def test_the_proxy_runs_in_step_with_the_source(delivered: Delivered, source: Path) -> None:
    before, proxy = probe(source), probe(delivered.folder / "film_edit_v001_proxy.mp4")
    assert (proxy.frames, proxy.rate, proxy.timecode) == (before.frames, before.rate, "01:00:00;00")
    assert [stamp * proxy.time_base for stamp in proxy.pts] == [stamp * before.time_base for stamp in before.pts]
    assert (proxy.codec, proxy.bit_depth, proxy.sample_aspect) == ("h264", 8, Fraction(1))
    assert (proxy.colour.primaries, proxy.colour.matrix, proxy.colour.range) == ("bt709", "bt709", "tv")
    with av.open(str(proxy.path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_the_sidecar_says_how_it_was_made(delivered: Delivered, finished: Finished, source: Path) -> None:
    told = json.loads((delivered.folder / "film_edit_v001.json").read_text())
    jsonschema.validate(told, sidecar_schema())
    master = told["master"]
    assert (master["frame_in"], master["frame_out"], master["nb_frames"]) == (1001, 1030, 30)
    assert (master["path"], master["drop_frame"]) == ("film_edit_v001.mov", True)
    footage = master["footage"]
    assert (footage["rate"], footage["timecode"], footage["codec"]) == ("30000/1001", "01:00:00;00", "h264")
    assert (footage["width"], footage["height"], footage["colour"]["transfer"]) == (320, 180, "bt709")
    assert (told["source"]["name"], told["source"]["verified"]) == ("film.mov", True)
    assert told["source"]["sha256"] == finished.turn.source
    assert (told["turn"]["asked"], told["turn"]["seed"], told["turn"]["model"]) == ("make it night, ♥", "7", "tiny")
    assert told["conversions"] == ["The model worked at 64x64."]
    assert told["review_only"]
    assert told["notice"].startswith("film_edit_v001: REVIEW MATERIAL, NOT A FINAL. The pictures come from")
    assert "**film_edit_v001: REVIEW MATERIAL, NOT A FINAL.**" in (delivered.folder / "NOTICE.txt").read_text()
    assert told["checksums"].keys() == {
        path.name for path in delivered.folder.iterdir() if path.suffix not in (".json", ".xxh128")
    }


def test_the_sidecar_says_what_each_segment_recalled(delivered: Delivered) -> None:
    segments = delivered.sidecar.segments
    assert [one.span for one in segments] == [(0, 13), (9, 18), (18, 25), (22, 30)]
    assert [one.clip for one in segments] == [(0, 11), (11, 18), (18, 23), (23, 30)]
    assert [[(memory.turn, memory.segment) for memory in one.recalled] for one in segments] == [
        [],
        [(1, 0)],
        [(1, 1)],
        [(1, 2)],
    ]
    assert segments[1].flags == ("seam",)
    assert segments[1].scores == {"drift": 1.5}
    assert [one.seed for one in segments] == [str(2**62 + index) for index in range(4)]


def test_cuts_and_flags_are_red_markers(delivered: Delivered) -> None:
    timeline = otio.adapters.read_from_file(str(delivered.folder / "film_edit_v001.otio"))
    markers = [(marker.name, marker.color) for clip in timeline.find_clips() for marker in clip.markers]
    assert markers == [("seam", "RED"), ("cut", "RED")]
    assert otio.opentime.to_timecode(timeline.global_start_time) == "01:00:00;00"
    edl = (delivered.folder / "film_edit_v001.edl").read_text()
    assert "* LOC: 01:00:00;11 RED     SEAM" in edl
    assert "* LOC: 01:00:00;18 RED     CUT" in edl


def test_what_differs_from_the_source_is_told(delivered: Delivered) -> None:
    """H.264 of 10 bits is the master; the proxy cannot have them, nor the sound, which MP4 does not hold."""
    assert delivered.sidecar.master.differs == ()
    assert delivered.sidecar.proxy.differs == (
        "bit depth is 8, that of the source is 10",
        "sound is none, that of the source is pcm_s16le 2 channels",
    )


@pytest.mark.parametrize(
    ("kind", "differs"),
    [
        ("anamorphic", ("colour primaries", "colour transfer", "colour matrix", "colour range")),
        ("vfr", ("colour primaries", "colour transfer", "colour matrix", "colour range")),
    ],
)
def test_a_proxy_of_an_odd_clip(kind: str, differs: tuple[str, ...], tmp_path: Path) -> None:
    """Same time stamps and pixel aspect; colours that were untold are declared. Sound comes along."""
    from storage.footage import changes, footage_of
    from storage.proxy import write_handed_proxy

    info = probe(make_clip(kind, tmp_path))
    done = []
    proxy = write_handed_proxy(info, tmp_path / "proxy.mp4", lambda *told: done.append(told))
    assert [stamp * proxy.time_base for stamp in proxy.pts] == [stamp * info.time_base for stamp in info.pts]
    assert tuple(changes(footage_of(info), footage_of(proxy))) == differs
    assert sound_packets(proxy.path) == sound_packets(info.path)
    assert done[-1] == (info.frames, info.frames)


def test_a_large_video_has_a_proxy_of_720_lines(tmp_path: Path) -> None:
    from storage.proxy import write_handed_proxy

    run_ffmpeg(*chart("1998x1080", frames=3), "-c:v", "libx264", "-preset", "ultrafast", tmp_path / "large.mp4")
    proxy = write_handed_proxy(probe(tmp_path / "large.mp4"), tmp_path / "proxy.mp4", quiet)
    assert (proxy.width, proxy.height) == (1332, 720)


def test_a_varying_rate_is_told(tmp_path: Path) -> None:
    run_ffmpeg(
        *chart(frames=50), "-vf", "select='if(lt(t,0.4),1,not(mod(n,2)))'", "-fps_mode", "vfr", tmp_path / "v.mp4"
    )
    info = probe(tmp_path / "v.mp4")
    assert (info.frames, info.variable_rate) == (30, True)
    told = hand_over(make_finished(tmp_path / "v.mp4", tmp_path / "out"), tmp_path / "to").sidecar
    assert told.master.footage.variable_rate
    assert any("The rate varies" in sentence for sentence in told.conversions)
    assert told.edit_lists == ("film_edit_v001.otio",), "no timecode counts 15.6 frames a second"


@pytest.mark.parametrize(
    ("rate", "frames", "first", "second"),
    [
        ("60000/1001", 180, "a.mov", "b.mkv"),
        ("60000/1001", 180, "a.mkv", "b.mp4"),
        ("30000/1001", 90, "a.mov", "b.mp4"),
        ("30000/1001", 20, "a.mkv", "b.mp4"),
    ],
)
def test_the_same_moments_in_another_container_are_no_other_rate(
    rate: str, frames: int, first: str, second: str, tmp_path: Path
) -> None:
    scale = ["-video_track_timescale", "600"] if frames == 90 else []
    for name in (first, "encoded.mov"):
        run_ffmpeg(*chart("64x64", rate=rate, frames=frames), "-c:v", "libx264", *scale, tmp_path / name)
    source = probe(tmp_path / first)
    mux(tmp_path / "encoded.mov", source, source.colour, tmp_path / second)
    one, other = footage_of(source), footage_of(probe(tmp_path / second))
    assert changes(one, other).keys() <= {"colour range"}
    assert "rate" in changes(one, other.model_copy(update={"rate": "24"}))
    if rate == "60000/1001":
        assert one.rate == other.rate == rate, "Matroska's fractions are not shown to people"


def test_moments_in_milliseconds_are_the_sources(tmp_path: Path) -> None:
    """Matroska rounds them: the mean of a varying rate is another fraction, and no other rate."""
    vary = "select='if(lt(t,0.4),1,not(mod(n,2)))'"
    run_ffmpeg(*chart(rate="30000/1001", frames=48), "-vf", vary, "-fps_mode", "vfr", tmp_path / "v.mp4")
    source = footage_of(probe(tmp_path / "v.mp4"))
    run_ffmpeg("-i", tmp_path / "v.mp4", "-c", "copy", tmp_path / "v.mkv")
    rounded = footage_of(probe(tmp_path / "v.mkv"))
    assert rounded.rate != source.rate
    assert "rate" not in changes(source, rounded)
    assert "rate" in changes(source, rounded.model_copy(update={"rate": "15"}))


def next_name(place: Path) -> str:
    with staged(place, "film_edit", "source", quiet) as stage:
        (stage.folder / "file").touch()
    return stage.name


def test_versions_only_go_up(tmp_path: Path) -> None:
    """Also past a delivery that was moved away, and one that the place does not remember."""
    assert [next_name(tmp_path) for _ in range(2)] == ["film_edit_v001", "film_edit_v002"]
    shutil.move(tmp_path / "film_edit_v002", tmp_path / "sent")
    assert next_name(tmp_path) == "film_edit_v003"
    (tmp_path / "film_edit_v041").mkdir()
    assert next_name(tmp_path) == "film_edit_v042"
    assert list((tmp_path / "film_edit_v041").iterdir()) == []


def test_a_second_delivery_leaves_the_first_as_it_is(finished: Finished, tmp_path: Path) -> None:
    first, second = (hand_over(finished, tmp_path) for _ in range(2))
    assert (second.folder.name, second.sidecar.version) == ("film_edit_v002", 2)
    assert second.sidecar.master.path == "film_edit_v002.mov"
    assert verify(first.folder).faults == verify(second.folder).faults == ()


def test_the_name_of_another_video_is_not_taken(finished: Finished, tmp_path: Path) -> None:
    with staged(tmp_path, "film_edit", finished.turn.source, quiet):
        pass
    other = Finished(finished.folder, replace(finished.turn, source="0" * 64), finished.entry)
    with pytest.raises(RequestError, match="film_edit is another video there"):
        hand_over(other, tmp_path)
    assert hand_over(other, tmp_path, name="film2").folder.name == "film2_edit_v001"


@pytest.mark.parametrize(
    ("name", "task", "folder"),
    [
        ("AGM 104/065_010", "comp (final)", "AGM_104_065_010_comp_final_v001"),
        ("-rf ../../x", None, "rf_.._.._x_edit_v001"),
        ("Ünïcode", "edit", "n_code_edit_v001"),
        ("a" * 300, None, "a" * 80 + "_edit_v001"),
    ],
)
def test_names_are_cleaned(name: str, task: str | None, folder: str, finished: Finished, tmp_path: Path) -> None:
    made = hand_over(finished, tmp_path / "to", name=name, task=task)
    assert made.folder == tmp_path / "to" / folder
    assert made.sidecar.master.path == f"{folder}.mov"
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_a_name_of_nothing_is_refused(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--name"):
        hand_over(finished, tmp_path / "to", name="映画")
    assert not (tmp_path / "to").exists()


def test_deliveries_at_once_get_versions_of_their_own(tmp_path: Path) -> None:
    """Four at once, each seeing nobody else at work; those that wait are told so."""
    at_work, most, told = [], [], []

    def make(number: int) -> None:
        with staged(tmp_path, "film_edit", "source", told.append) as stage:
            at_work.append(number)
            most.append(len(at_work))
            (stage.folder / "file").write_text(stage.name)
            at_work.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    found = {path.name: (path / "file").read_text() for path in tmp_path.glob("film*")}
    assert found == {f"film_edit_v00{number}": f"film_edit_v00{number}" for number in range(1, 5)}
    assert max(most) == 1


def test_whoever_waits_is_told(tmp_path: Path) -> None:
    told = Queue()
    with ThreadPoolExecutor(1) as pool, ExitStack() as held:
        held.enter_context(staged(tmp_path, "film_edit", "source", quiet))
        other = pool.submit(lambda: staged(tmp_path, "film_edit", "source", told.put).__enter__().name)
        assert told.get() == f"{tmp_path}: another process is delivering to it; waiting for it"
        assert not other.done()
        held.close()
        assert other.result() == "film_edit_v002"


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_is_left_of_an_interrupted_delivery(fault: BaseException, finished: Finished, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert list(tmp_path.glob(".film_edit_v001.unfinished/*.mov"))
        raise fault

    with pytest.raises((KeyboardInterrupt, RunError)):
        deliver(finished, Order(tmp_path), quiet, interrupt)
    assert {path.name for path in tmp_path.iterdir()} <= {".deliveries.lock"}
    assert finished.path.is_file()


def test_a_killed_delivery_has_no_name_and_is_swept_away(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from storage.delivery_folder import staged\n"
        f"with staged(Path({str(tmp_path)!r}), 'film_edit', 'source', print) as stage:\n"
        "    (stage.folder / 'half').touch(); print('at work', flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes)
    assert running.stdout is not None
    assert running.stdout.readline() == "at work\n"
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert [path.name for path in tmp_path.glob("*film*")] == [".film_edit_v001.unfinished"]
    with staged(tmp_path, "film_edit", "source", quiet) as stage:
        assert stage.name == "film_edit_v001"
    assert [path.name for path in tmp_path.glob("*film*")] == ["film_edit_v001"]


def test_what_others_are_writing_in_the_place_is_left_alone(tmp_path: Path) -> None:
    with whole_file(tmp_path / "page.html") as unfinished:
        unfinished.write_text("page")
        with staged(tmp_path, "film_edit", "source", quiet) as stage:
            assert stage.name == "film_edit_v001"
    assert (tmp_path / "page.html").read_text() == "page"


def test_another_source_is_refused(finished: Finished, tmp_path: Path) -> None:
    other = make_clip("plain", tmp_path)
    with pytest.raises(RequestError, match="is not the video that was edited"):
        hand_over(finished, tmp_path / "to", source=other)
    assert not (tmp_path / "to").exists()


def test_the_source_is_found_at_any_depth(finished: Finished, source: Path, tmp_path: Path) -> None:
    """Of several files of its name the one that was edited, whatever lies nearer."""
    footage = tmp_path / "footage"
    below = footage / "season 1" / "day 2" / "film.mov"
    below.parent.mkdir(parents=True)
    with pytest.raises(VideoError, match=r"footage/film.mov: does not exist"):
        hand_over(finished, tmp_path / "to", source=footage)
    for other in (footage / "film.mov", footage / "season 0" / "film.mov"):
        other.parent.mkdir(exist_ok=True)
        make_clip("plain", tmp_path).replace(other)
    with pytest.raises(RequestError, match=r"footage/film.mov: is not the video that was edited"):
        hand_over(finished, tmp_path / "to", source=footage)
    os.link(source, below)
    told = hand_over(finished, tmp_path / "to", source=footage).sidecar.source
    assert (told.name, told.verified) == ("film.mov", True)


def test_without_the_source_it_says_that_it_was_not_verified(finished: Finished, tmp_path: Path) -> None:
    told = hand_over(finished, tmp_path).sidecar.source
    assert (told.verified, told.footage.timecode) == (False, "01:00:00;00")


@pytest.fixture
def own(source: Path, tmp_path: Path) -> Finished:
    """One that a test may spoil."""
    return make_finished(source, tmp_path / "out", noted=False)


def test_a_folder_of_an_earlier_version_asks_for_the_source(own: Finished, source: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"give the source, film.mov, with --source"):
        hand_over(own, tmp_path / "to")
    told = hand_over(own, tmp_path / "to", source=source).sidecar
    assert (told.source.verified, told.turn.model) == (True, "untold")
    assert told.conversions == ("What was changed on the way was not noted.",)


@pytest.mark.parametrize("spoil", ["changed", "missing", "memory", "note", "scores", "out of step"])
def test_what_is_damaged_is_one_line_and_not_delivered(spoil: str, own: Finished, source: Path, tmp_path: Path) -> None:
    told: tuple[type[MemoryV2VError], str]
    match spoil:
        case "changed":
            own.path.write_bytes(own.path.read_bytes() + b"x")
            told = StoreError, "has changed since it was finished"
        case "missing":
            own.path.unlink()
            told = StoreError, "is missing"
        case "memory":
            from storage.kinds import forget

            forget(own.folder / "memory", [own.segments[2].id], [])
            own = find_finished_video(own.folder, Wanted())
            told = StoreError, "the memory of segment 2 is missing"
        case "note":
            own = replace(own, entry=replace(own.entry, note='{"segments": "many"}'))
            told = StoreError, "note of it is damaged"
        case "scores":
            write_scores(own.path, [SegmentScores(index=4)])
            told = RequestError, "name segment 4, which it has not"
        case _:
            shorter = tmp_path / "short.mov"
            run_ffmpeg("-i", own.path, "-c", "copy", "-frames:v", "29", shorter)
            shorter.replace(own.path)
            from storage.content_id import hash_file

            own = replace(own, entry=replace(own.entry, checksum=hash_file(own.path)))
            told = RunError, "frames is 29, that of the source is 30"
    with pytest.raises(told[0], match=told[1]) as caught:
        hand_over(own, tmp_path / "to", source=source)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "to").glob("*film*"))


def test_what_is_wanted_is_found(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_finished(source, out)
    second = make_finished(source, out, turn=2)
    ledger = Ledger(out / "memory")
    enter_turn(ledger, "film", "turn 3", source=second.turn.source)
    assert find_finished_video(out, Wanted()).entry.id == "video 2", "the newest"
    for wanted in (Wanted(turn=1), Wanted(video="film_edit_v001.mov"), Wanted("film_edit_v001", "film")):
        assert find_finished_video(out, wanted).entry.id == "video 1"
    for wanted, told in (
        (Wanted(turn=3), "turn 3 is not finished"),
        (Wanted(session="film", turn=9), "has no turn 9"),
        (Wanted(session="other"), "no such session"),
        (Wanted(video="x.mov"), "no finished video x.mov; there are film_edit_v001.mov, film_edit_v002.mov"),
    ):
        with pytest.raises(RequestError, match=told):
            find_finished_video(out, wanted)
    enter_turn(ledger, "blue", "turn 1", source=second.turn.source)
    with pytest.raises(RequestError, match="say which with --session"):
        find_finished_video(out, Wanted(turn=1))


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no sessions"):
        find_finished_video(tmp_path, Wanted())


def test_the_shipped_schema_is_that_of_the_code() -> None:
    shipped = ROOT / "docs" / "delivery.schema.json"
    assert shipped.read_text() == schema_text(), "run: python -m storage.sidecar > docs/delivery.schema.json"
    jsonschema.Draft202012Validator.check_schema(sidecar_schema())
