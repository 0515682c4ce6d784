"""The proof convicts: whatever remembers passes, whatever does not fails."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.config import EditConfig, Preset, ProofConfig, RetrievalConfig, WindowConfig, WorldConfig
from model.errors import RequestError
from model.metrics.agreement import Figure
from model.types import EditedSegment, Memory
from storage.datasets.synthetic import RenderedWorld, colour_of, imagine, render
from tasks.proof.playing import METHODS
from tasks.proof.verdicts import (
    Job,
    Model,
    add_verdicts,
    do_job,
    find_models,
    plan_jobs,
    read_verdicts,
    sum_up,
    wanted_keys,
)

SIZE, SEGMENTS, LENGTH, VIDEOS = 48, 20, 5, 30
WORLD = WorldConfig(size=SIZE, segments=SEGMENTS, segment_frames=LENGTH, least_shown=2, least_gap=12)
PRESET = Preset(name="by hand", window=WindowConfig(frames=LENGTH, overlap=2), retrieval=RetrievalConfig(top_k=4))
CHANCE = 60 / 360


class Painter:
    """Edits as the truth is, in the hue of the memory that shows most of what is to be painted, else in any hue.

    It knows the pictures. Its latents are numbers: of the source, which world and segment; of the edit, how many pixels
    there were to paint, and the hue.
    """

    def __init__(self, seeds: Sequence[int], remembers: bool = True, works: bool = True, spoils: bool = False) -> None:
        self.remembers, self.works, self.spoils = remembers, works, spoils
        self._known: dict[bytes, tuple[int, RenderedWorld, int]] = {}
        for seed in seeds:
            rendered = render(imagine(WORLD, seed, "held-out"), SIZE)
            for at in range(SEGMENTS):
                self._known[rendered.source[at * LENGTH : (at + 1) * LENGTH].tobytes()] = (seed, rendered, at)

    def edit(
        self, source: np.ndarray, instruction: str, memories: Sequence[Memory], seed: int, config: EditConfig
    ) -> EditedSegment:
        number, rendered, at = self._known[np.rint(source * 255).astype(np.uint8).tobytes()]
        part, change = slice(at * LENGTH, (at + 1) * LENGTH), rendered.world.change
        own = [memory.edited[:, 0, 0, 0] for memory in memories if memory.source[0, 0, 0, 0] == number]
        painted, hue = max(own, key=lambda edit: edit[0], default=(0, 0))
        hue = hue if painted and self.remembers else np.random.default_rng(seed).uniform(0, 360)
        hue = change.hue if change.named else float(hue)
        frames = source.copy()
        if self.works:
            frames[rendered.changed[part]] = colour_of(hue)
        if self.spoils:
            frames[np.logical_or.reduce(rendered.masks[1:])[part]] = colour_of((hue + 180) % 360)
        edited = np.array([rendered.changed[part].sum(), hue], np.float32).reshape(2, 1, 1, 1)
        kept = np.array([number, at], np.float32).reshape(2, 1, 1, 1)
        return EditedSegment(frames, edited, kept, {"total": 0.25})

    def flops(self, source: np.ndarray, memories: Sequence[Memory], config: EditConfig) -> int:
        return 1000 * (1 + len(memories))

    def reconstruct(self, latents: np.ndarray) -> np.ndarray:
        """Its codec loses nothing."""
        number, place = (int(each) for each in latents[:, 0, 0, 0])
        rendered = next(each for seed, each, at in self._known.values() if (seed, at) == (number, place))
        return rendered.source[place * LENGTH : (place + 1) * LENGTH].astype(np.float32) / 255


def judge_all(painter: Painter, methods: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[str, Figure]]:
    model = Model("by hand", Path("nowhere"), "by hand", PRESET)
    verdicts = []
    for first, second in zip(seeds[::2], seeds[1::2], strict=True):
        wanted = (tuple(methods), tuple(methods))
        verdicts += do_job(painter, Job(model, WORLD, "world", (first, second), wanted, Path("nowhere")))
    return sum_up(verdicts, methods)


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, Figure]]:
    """All methods, under an editor that does everything right."""
    return judge_all(Painter(range(VIDEOS)), list(METHODS), range(VIDEOS))


def value(figure: Figure) -> float:
    assert figure.value is not None
    return figure.value


@pytest.mark.parametrize("method", ["memory", "memory_merging", "discard", "cached"])
def test_a_perfect_editor_with_memory_is_perfect(figures, method: str) -> None:
    assert value(figures[method]["agreement_after_gap"]) == 1.0
    assert value(figures[method]["agreement"]) == 1.0


@pytest.mark.parametrize("method", list(METHODS))
def test_a_perfect_editor_edits_and_does_as_told_under_every_method(figures, method: str) -> None:
    assert value(figures[method]["edit_rate"]) == 1.0
    assert value(figures[method]["instruction_followed"]) == 1.0


@pytest.mark.parametrize("method", ["ind", "fifo", "shuffled"])
def test_without_memories_of_its_own_a_perfect_editor_is_at_chance_after_gaps(figures, method: str) -> None:
    figure = figures[method]["agreement_after_gap"]
    assert figure.n >= 6
    assert value(figure) <= CHANCE + 3 * np.sqrt(CHANCE * (1 - CHANCE) / figure.n)


def test_choosing_badly_costs_something(figures) -> None:
    assert value(figures["recency"]["agreement_after_gap"]) < value(figures["memory"]["agreement_after_gap"])


def test_an_editor_that_forgets_is_at_chance_whatever_it_is_given() -> None:
    figure = judge_all(Painter(range(VIDEOS), remembers=False), ["memory"], range(VIDEOS))["memory"]
    assert value(figure["agreement_after_gap"]) <= 0.6
    assert value(figure["edit_rate"]) == 1.0


def test_an_editor_that_does_nothing_agrees_with_itself_and_has_no_strict_agreement_at_all() -> None:
    figure = judge_all(Painter(range(4), works=False), ["memory"], range(4))["memory"]
    assert value(figure["agreement"]) == 1.0
    assert value(figure["edit_rate"]) == 0.0
    assert figure["agreement_after_gap"].value is None


def test_touching_other_things_is_told_from_painting_the_right_one(figures) -> None:
    clean, spoilt = figures["ind"], judge_all(Painter(range(4), spoils=True), ["ind"], range(4))["ind"]
    assert value(clean["wrongly_changed"]) == 0.0
    assert value(spoilt["wrongly_changed"]) > 0.7
    assert value(clean["smeared"]) == 0.0
    assert value(spoilt["smeared"]) > 0.3
    assert value(spoilt["edit_rate"]) == 1.0
    assert value(clean["psnr_outside"]) == value(spoilt["psnr_outside"]) == value(clean["psnr_codec"]) == 100.0


def test_more_memories_are_more_work(figures) -> None:
    work = {name: value(figures[name]["gigaflops_per_segment"]) for name in ("ind", "fifo", "memory")}
    assert work["ind"] < work["fifo"] < work["memory"]
    assert value(figures["ind"]["seconds_per_segment"]) == 0.25


MODEL = Model("by hand", Path("nowhere"), "by hand", PRESET)


def proof(**fields: Any) -> ProofConfig:
    """Three worlds, and no footage."""
    few: dict[str, Any] = {"videos": 3, "segments": SEGMENTS, "size": SIZE, "looks": 0, "methods": ("ind", "shuffled")}
    return ProofConfig(**few | {"records": Path("nowhere")} | fields)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    records, config = tmp_path / "records.jsonl", proof()
    first, second = plan_jobs(config, [MODEL], tmp_path, set())
    assert first.methods == (("ind", "shuffled"), ("ind", "shuffled"))
    assert second.methods == (("ind", "shuffled"), ())
    verdicts = do_job(Painter(range(4)), first)
    add_verdicts(records, verdicts[:3])
    kept = read_verdicts(records)
    assert list(kept.values()) == verdicts[:3]
    assert [job.methods for job in plan_jobs(config, [MODEL], tmp_path, set(kept))] == [
        ((), ("shuffled",)),
        second.methods,
    ]
    again = do_job(Painter(range(4)), plan_jobs(config, [MODEL], tmp_path, set(kept))[0])
    assert again == verdicts[3:]


def test_a_verdict_that_was_cut_off_is_judged_again(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    verdicts = do_job(Painter(range(2)), plan_jobs(proof(videos=2), [MODEL], tmp_path, set())[0])
    add_verdicts(records, verdicts)
    records.write_text(records.read_text()[:-40])
    assert list(read_verdicts(records).values()) == verdicts[:-1]
    add_verdicts(records, verdicts[-1:])
    assert list(read_verdicts(records).values()) == verdicts


def test_the_keys_wanted_are_those_of_the_verdicts(tmp_path: Path) -> None:
    config = proof(videos=2)
    verdicts = do_job(Painter(range(2)), plan_jobs(config, [MODEL], tmp_path, set())[0])
    assert wanted_keys(config, [MODEL], tmp_path) == {verdict.key for verdict in verdicts}
    other = Model("by hand", Path("nowhere"), "trained again", PRESET)
    assert not wanted_keys(config, [other], tmp_path) & {verdict.key for verdict in verdicts}


def test_an_unknown_method_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="telepathy"):
        find_models(proof(methods=("ind", "telepathy")), tmp_path)
