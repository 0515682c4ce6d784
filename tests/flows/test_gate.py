"""The quality gate from end to end: one segment comes out in wrong colours, is flagged, and is edited again."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from flows import catalog
from flows.edit import EditReport, edit, understand
from flows.request import build_request
from flows.sessions import show_session
from model.config import CatalogRequest, EditRequest
from model.metrics.course import Course
from model.metrics.gate import score
from model.metrics.video_scores import SegmentSeries
from model.rehearsal import meets
from storage.attempts import attempt_of
from storage.ledger import Ledger
from storage.memory import MemoryRow, MemoryStore
from storage.scores import read_scores
from tasks import gate
from tasks.ingest import ingest
from tasks.turn import noise_seed
from tests.clips import X264, chart, run_ffmpeg

FRAMES, SEGMENTS = 41, 10  # windows of 5 frames, an overlap of 1
PROMPT = "make it night [drift:08]"


def request(video: Path, out: Path, mode: str = "flag", **options: object) -> EditRequest:
    fixed = {"video": video, "instruction": PROMPT, "out": out, "weights": "rehearsal:0.01", "session": "film"}
    choices = {"window": {}, "retrieval": {"top_k": 3}, "sampling": {}}
    return build_request({**fixed, "gate": {"mode": mode}, **options}, choices)


@dataclass(frozen=True)
class Story:
    """A folder in which segment `bad` was flagged, and then edited again; with the same `seed` it always is."""

    video: Path
    out: Path
    seed: int
    bad: int
    flagged: EditReport
    redone: EditReport

    def request(self, mode: str, **options: object) -> EditRequest:
        return request(self.video, self.out, mode, **({"seed": self.seed} | options))

    @property
    def attempts(self) -> list[str]:
        """The ids of the attempts at the bad segment, the first one first."""
        entries = Ledger(self.out / "memory").entries(kind="segment")
        mine = [entry for entry in entries if (entry.turn, entry.segment) == (1, self.bad)]
        return [entry.id for entry in sorted(mine, key=attempt_of)]

    def rows(self, turn: int) -> list[MemoryRow]:
        return [row for row in MemoryStore(self.out / "memory", 192).rows() if row.turn == turn]


@pytest.fixture(scope="module")
def story(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Story:
    out = tmp_path_factory.mktemp("gate")
    video = out / "clip.mp4"
    run_ffmpeg(*chart("64x64", frames=FRAMES), *X264, video)
    seed, bad = find_seed(request(video, out / "out"))
    flagged = edit(request(video, out / "out", "flag", seed=seed))
    redone = edit(request(video, out / "out", "redo", seed=seed))
    return Story(video, out / "out", seed, bad, flagged, redone)


def find_seed(asked: EditRequest) -> tuple[int, int]:
    """A seed with which one segment drifts, and not when it is edited again; and which segment that is."""
    plan = ingest.__wrapped__(understand(asked))
    for seed in range(1000):
        seeded = replace(plan, work=replace(plan.work, request=asked.model_copy(update={"seed": seed})))
        bad = [one for one in plan.segments if meets(PROMPT, noise_seed(seeded, 1, one))]
        if len(bad) == 1 and 2 < bad[0].index < 7 and not meets(PROMPT, noise_seed(seeded, 1, bad[0], 1)):
            return seed, bad[0].index
    raise AssertionError("no seed fits")


def test_what_drifts_is_flagged_in_a_file_beside_the_page(story: Story) -> None:
    scores = read_scores(Path(story.flagged.output))
    assert [one.index for one in scores.segments] == list(range(SEGMENTS))
    assert [one.index for one in scores.segments if "colour" in one.flags] == [story.bad]
    assert story.flagged.flagged == sum(bool(one.flags) for one in scores.segments) >= 1
    assert "flagged" in story.flagged.summary()


def test_it_is_edited_again_alone_and_the_better_one_kept(story: Story) -> None:
    assert story.redone.flagged == 0
    assert (story.redone.edited, story.redone.reused) == (1, SEGMENTS - 1)
    assert story.redone.output != story.flagged.output
    first, second = story.attempts
    rows = {row.id: row for row in story.rows(turn=1)}
    assert len(rows) == SEGMENTS + 1
    assert rows[first].seed != rows[second].seed
    assert len(rows[second].recalled) == len(rows[first].recalled) + 1
    assert first not in rows[second].recalled
    assert any(rows[id].segment > story.bad for id in rows[second].recalled), "the whole video is there to be recalled"


def test_a_session_says_which_attempt_is_kept(story: Story) -> None:
    (session,) = {row.session for row in story.rows(turn=1)}
    view = show_session(story.out, session, 1)
    (turn,) = view.fields()["turns"]
    told = {one["id"]: (one["segment"], one["attempt"], one["kept"]) for one in turn["segments"]}
    first, second = story.attempts
    assert (told.pop(first), told.pop(second)) == ((story.bad, 1, False), (story.bad, 2, True))
    assert {(number, kept) for _, number, kept in told.values()} == {(1, True)}
    lines = [line for line in view.summary().splitlines() if f"segment {story.bad} " in line]
    assert ["attempt 1, not kept, recalled" in line for line in lines] == [True, False]
    assert "attempt 2, kept, recalled" in lines[1]


def test_a_run_that_goes_on_finds_the_attempt(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[object] = []

    def counted(course: Course) -> SegmentSeries:
        scored.append(course)
        return score(course)

    monkeypatch.setattr(gate, "score", counted)
    video = Path(story.redone.output)
    content = video.read_bytes()
    video.unlink()
    again = edit(story.request("redo"))
    assert (again.edited, again.reused, again.flagged) == (0, SEGMENTS, 0)
    assert Path(again.output).read_bytes() == content
    assert len(story.attempts) == 2
    assert len(scored) == 2, "the whole video once, and once an attempt"
    Path(again.output).rename(video)


def test_a_lost_segment_recalls_what_it_recalled_at_first(story: Story) -> None:
    """Its name says so: attempts made later do not change what the turn itself recalls."""
    last = next(row for row in story.rows(turn=1) if row.segment == SEGMENTS - 1)
    (story.out / "segments" / f"{last.id}.mkv").unlink()
    again = edit(story.request("redo", output={"codec": "ffv1"}))
    assert again.edited == 1
    assert len(story.rows(turn=1)) == SEGMENTS + 1


def test_later_turns_build_on_the_one_that_was_kept(story: Story) -> None:
    first, second = story.attempts
    parent = understand(story.request("redo", instruction="add snow", on=1)).parent
    assert parent is not None
    ids = {row.id for row in parent.rows.values()}
    assert second in ids
    assert first not in ids
    edit(story.request("off", instruction="make it day"))
    recalled = {id for row in story.rows(turn=2) for id in row.recalled}
    assert second in recalled
    assert first not in recalled


def test_an_attempt_is_told_from_the_first_before_anyone_has_judged_it(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may be killed as soon as it is committed."""
    edit(request(story.video, tmp_path, "flag", seed=story.seed))
    store = MemoryStore(tmp_path / "memory", 192)
    first = {row.id for row in store.rows()}

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(gate.Gate, "_entry", killed)
    with pytest.raises(RuntimeError, match="killed"):
        edit(request(story.video, tmp_path, "redo", seed=story.seed))
    assert len(store.rows()) == len(first) + 1
    parent = understand(request(story.video, tmp_path, "off", instruction="add snow", on=1)).parent
    assert parent is not None
    assert {row.id for row in parent.rows.values()} == first


def test_a_catalog_tells_how_many_are_flagged_also_when_it_finds_them_done(story: Story, tmp_path: Path) -> None:
    line = {"video_id": "one", "uri": str(story.video), "turns": [{"prompt": PROMPT, "seed": story.seed}]}
    manifest = tmp_path / "catalog.jsonl"
    manifest.write_text(json.dumps(line) + "\n")
    asked = CatalogRequest(manifest=manifest, out=tmp_path / "out", weights="rehearsal:0.01")
    assert [catalog.run(asked).flagged for _ in range(2)] == [story.flagged.flagged] * 2
    record, states, text = catalog.report(tmp_path / "out")
    assert record.flagged == states[0].flagged == story.flagged.flagged
    assert text.index("to be looked at") < text.index("| one |")
    manifest.write_text(json.dumps(line | {"gate": {"mode": "redo"}}) + "\n")
    again = catalog.run(asked)
    assert (again.flagged, again.segments["edited"], again.segments["reused"]) == (0, 1, SEGMENTS - 1)
